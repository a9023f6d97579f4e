#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: The NVIDIA GPUs of a host and its platform
version_added: 0.1.0
description:
  - Reads C(nvidia-smi -q -x), its CSV where the XML is missing, DMI, the device tree, C(/etc/dgx-release) and the PCI bus, and says what they come to.
  - An C(nvidia-smi) that is missing, hangs or fails is an answer with a remedy, not a failure of the module.
  - Needs nothing but Python on the host.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
options:
  timeout:
    description: Seconds that C(nvidia-smi) may take. On a host with many GPUs and no persistence daemon it takes several.
    type: int
    default: 20
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.info_module
seealso:
  - module: nemoclaw.fleet.host_probe
    description: Includes these facts.
"""

EXAMPLES = r"""
- name: Look at the GPUs
  nemoclaw.fleet.gpu_info:
  register: found

- name: Stop on a host whose driver does not run
  ansible.builtin.assert:
    that: found.gpu.status == 'ok'
    fail_msg: "{{ found.gpu.detail }} {{ found.gpu.remedy }}"
"""

RETURN = r"""
gpu:
  description: The GPUs and the platform.
  returned: always
  type: dict
  contains:
    status:
      description:
        - V(ok), V(none) for a host without NVIDIA GPU, or what is wrong.
        - V(missing) is a GPU without nvidia-smi, V(driver) one whose driver is not loaded or not of the installed version.
      type: str
      choices: [ok, none, missing, driver, library, no_devices, permission, timeout, failed]
      sample: ok
    detail: {description: What was found wrong; empty when nothing was., type: str, sample: ""}
    remedy: {description: What to do about it; empty when nothing is to be done., type: str, sample: ""}
    source: {description: Where the list of GPUs is from., type: str, choices: [xml, csv, devicetree, ""], sample: xml}
    platform: {description: Kind of machine., type: str, choices: [spark, station, jetson, linux, none], sample: spark}
    evidence: {description: What the platform was concluded from., type: list, elements: str, sample: [product_name=NVIDIA_DGX_Spark]}
    product: {description: Product name of the firmware., type: str, sample: NVIDIA_DGX_Spark}
    dgx:
      description: What C(/etc/dgx-release) says, without the serial number. Empty strings where there is no such file.
      type: dict
      sample: {name: DGX Spark, platform: DGX Server for KVM, version: 7.2.3, ota_version: 7.6.0}
    driver_version: {description: Version of the driver., type: str, sample: 580.126.09}
    cuda_version: {description: Newest CUDA that the driver supports., type: str, sample: "13.0"}
    unified_memory: {description: Whether a GPU has the host's memory instead of its own., type: bool, sample: true}
    gpus:
      description: The GPUs in the order of nvidia-smi. The first one is not always the one for computing.
      type: list
      elements: dict
      sample:
        - index: 0
          name: NVIDIA GB10
          uuid: GPU-00000000-0000-0000-0000-000000000000
          bus_id: "0000000F:01:00.0"
          architecture: Blackwell
          memory_mb: 124610
          unified: true
          coherent: false
          compute_capability: "12.1"
          mig: ""
          mig_devices: []
      contains:
        index: {description: Number of the GPU., type: int}
        name: {description: Product name., type: str}
        uuid: {description: UUID., type: str}
        bus_id: {description: PCI address., type: str}
        architecture: {description: Product architecture; empty when unknown., type: str}
        memory_mb: {description: Memory in MiB; the host's where it is unified; null when unknown., type: int}
        unified: {description: Whether the memory is the host's., type: bool}
        coherent: {description: "Whether the GPU has memory of its own and addresses the host's too (GH200, GB200, GB300).", type: bool}
        compute_capability: {description: CUDA compute capability; empty when unknown., type: str}
        mig: {description: MIG mode; empty where the GPU has none., type: str, choices: [enabled, disabled, ""]}
        mig_devices:
          description: MIG devices with C(index), C(gpu_instance), C(compute_instance) and C(memory_mb) in MiB.
          type: list
          elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import gpus
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import facts
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host


def main() -> None:
    module = AnsibleModule({"timeout": {"type": "int", "default": 20}}, supports_check_mode=True)
    host = Host()
    memory = facts.memory_of(host.text("/proc/meminfo"))["MemTotal"]
    module.exit_json(changed=False, gpu=gpus.read(host, memory, module.params["timeout"]))


if __name__ == "__main__":
    main()
