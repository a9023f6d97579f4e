# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for nvidia-ctk on a test host: keeps a record of its calls, and makes CDI devices that a container can see without a GPU."""

import subprocess
import sys
from xml.etree import ElementTree

CALLS = "/usr/local/lib/nvidia/calls"
DEVICE = """\
- name: "{name}"
  containerEdits:
    env: [FAKE_GPU_{variable}={uuid}]
    deviceNodes: [{nodes}]
"""
NODE = "{{path: /dev/nvidia{number}, hostPath: /dev/null}}"
SPEC = """\
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
{devices}containerEdits:
  env: [FAKE_DRIVER={driver}]
  deviceNodes:
  - {{path: /dev/nvidiactl, hostPath: /dev/null}}
"""

with open(CALLS, "a", encoding="utf-8") as record:
    print(*sys.argv[1:], file=record)
if sys.argv[1:] == ["--version"]:
    print("NVIDIA Container Toolkit CLI version 1.17.8")
elif sys.argv[1:3] == ["cdi", "generate"]:
    root = ElementTree.fromstring(subprocess.run(["nvidia-smi", "-q", "-x"], stdout=subprocess.PIPE, check=True).stdout)
    devices = []
    for number, gpu in enumerate(root.findall("gpu")):
        parts = [f"{number}:{device.findtext('index')}" for device in gpu.findall("mig_devices/mig_device")]
        devices += [(name, gpu.findtext("uuid"), [number]) for name in parts or [str(number)]]
    devices.append(("all", "all", sorted({number for _name, _uuid, [number] in devices})))
    text = "".join(
        DEVICE.format(name=name, variable=name.replace(":", "_"), uuid=uuid, nodes=", ".join(NODE.format(number=number) for number in numbers))
        for name, uuid, numbers in devices
    )
    target = next(word.partition("=")[2] for word in sys.argv if word.startswith("--output="))
    with open(target, "w", encoding="utf-8") as spec:
        spec.write(SPEC.format(devices=text, driver=root.findtext("driver_version")))
else:
    sys.exit(f"nvidia-ctk: this stand-in does not know {' '.join(sys.argv[1:])}")
