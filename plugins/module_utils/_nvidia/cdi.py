# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs as CDI devices: the specifications of a host, read without a YAML parser, and the names that devices have in them. Private to the collection."""

from __future__ import annotations

import json
import re

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

KIND = "nvidia.com/gpu"
DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
REFRESH = "nvidia-cdi-refresh.service"
UNIT_DIRECTORIES = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")


def read(host: Host) -> dict:
    """The C(cdi) facts: the toolkit's program and version, whether its units keep the specification current, and every specification."""
    program = host.which("nvidia-ctk")
    said = host.run((program, "--version"))[0].output if program else ""
    found = re.search(r"\d+\.\d+\.\d+\S*", said)
    return {
        "ctk": program,
        "version": found.group() if found else "",
        "refresh": any(host.exists(f"{directory}/{REFRESH}") for directory in UNIT_DIRECTORIES),
        "specs": specs(host),
    }


def specs(host: Host) -> list[dict]:
    """C([{path, kind, devices}]) of the directories that engines read."""
    paths = [path for directory in DIRECTORIES for suffix in ("json", "yaml", "yml") for path in host.glob(f"{directory}/*.{suffix}")]
    return [{"path": path, **parse(host.text(path))} for path in sorted(paths)]


def parse(text: str) -> dict:
    """C({kind, devices}) of a specification, as JSON or as the YAML that nvidia-ctk writes; both empty where it is neither."""
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            return {"kind": "", "devices": []}
        return {"kind": str(found.get("kind", "")), "devices": [str(device.get("name", "")) for device in found.get("devices") or []]}
    kind = re.search(r"^kind:\s*(.+)$", text, re.MULTILINE)
    section = re.search(r"^devices:\s*\n((?:[-\s].*\n?)*)", text, re.MULTILINE)
    entries = section.group(1) if section else ""
    item = re.search(r"^\s*- ", entries)
    # the keys of an entry stand two columns behind the column of its dash; everything deeper belongs to its edits
    column = len(item.group()) - 2 if item else 0
    names = re.findall(rf"^ {{{column}}}[- ] name:\s*(.+)$", entries, re.MULTILINE)
    return {"kind": _plain(kind.group(1)) if kind else "", "devices": [_plain(name) for name in names]}


def _plain(value: str) -> str:
    return value.strip().strip("\"'")


def names(gpus: list[dict]) -> list[str]:
    """The devices that nvidia-ctk makes of these GPUs (facts of gpu_info): a GPU by its index, one that is partitioned by its MIG devices instead."""
    found = []
    for gpu in gpus:
        if gpu.get("mig") == "enabled":
            found += [f"{gpu['index']}:{device['index']}" for device in gpu["mig_devices"]]
        else:
            found.append(str(gpu["index"]))
    return found


def fingerprint(gpu: dict) -> dict:
    """What a specification is made from (facts of gpu_info): another driver or other GPUs make it stale."""
    return {"driver": gpu["driver_version"], "devices": [f"{name}={one['uuid']}" for one in gpu["gpus"] for name in names([one])]}
