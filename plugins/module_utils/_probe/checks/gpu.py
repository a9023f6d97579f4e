# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs, and whether containers can have them. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import cdi as specifications
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import result, version

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import Facts, Results

REPAIR = "set nemoclaw_preflight_repair: [cdi]"
DOCKER_WITH_CDI = "26"


def gpu(facts: Facts, limits: Facts) -> Results:
    found = facts["gpu"]
    names = ", ".join(f"{one['name']} {one['memory_mb'] or '?'} MiB" for one in found["gpus"])
    if found["status"] == "none" and limits["gpu"]:
        remedy = "Take gpu out of nemoclaw_sandboxes, or put the sandbox on another host."
        return result("gpu", False, "error", "no NVIDIA GPU, and a sandbox wants one", remedy)
    return result("gpu", found["status"] in ("ok", "none"), "warning", found["detail"] or f"{found['platform']}: {names}", found["remedy"])


def nvidia_driver(facts: Facts, limits: Facts) -> Results:
    found, least = facts["gpu"], limits["min_driver"]
    if not found["gpus"] or not found["driver_version"]:
        return []
    remedy = f"Install the driver {least} or newer of this distribution, and reboot."
    return result("nvidia_driver", version(found["driver_version"]) >= version(least), "warning", f"driver {found['driver_version']}", remedy)


def nvidia_toolkit(facts: Facts, limits: Facts) -> Results:
    """Only where there is a GPU, or one is asked for."""
    if not _concerned(facts, limits):
        return []
    found, least = facts["cdi"], limits["min_toolkit"]
    detail = f"NVIDIA Container Toolkit {found['version']}" if found["ctk"] else "no NVIDIA Container Toolkit"
    ok = bool(found["ctk"]) and version(found["version"]) >= version(least)
    remedy = f"Install the package nvidia-container-toolkit ({least} or newer), or {REPAIR}."
    return result("nvidia_toolkit", ok, _severity(limits), detail, remedy)


def cdi(facts: Facts, limits: Facts) -> Results:
    """A specification that names the GPUs there are, and an engine that reads it."""
    if not _concerned(facts, limits):
        return []
    severity, docker = _severity(limits), facts["docker"]
    results = []
    if docker["running"]:
        old = version(docker["version"]) < version(DOCKER_WITH_CDI)
        detail = "the engine reads CDI specifications" if docker["cdi_spec_dirs"] else f"Docker {docker['version']} {'knows no CDI' if old else 'has CDI off'}"
        remedy = f"Update Docker to {DOCKER_WITH_CDI} or newer" if old else 'Set {"features": {"cdi": true}} in /etc/docker/daemon.json and restart docker'
        results += result("docker_cdi", bool(docker["cdi_spec_dirs"]), severity, detail, f"{remedy}, or {REPAIR}.")
    specs = [spec for spec in facts["cdi"]["specs"] if spec["kind"] == specifications.KIND]
    named = {name for spec in specs for name in spec["devices"]}
    missing = [name for name in specifications.names(facts["gpu"]["gpus"]) if name not in named]
    places = ", ".join(spec["path"] for spec in specs)
    stale = f"{places} lacks {', '.join(f'{specifications.KIND}={name}' for name in missing)}" if missing else places
    remedy = f"Run 'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml', or {REPAIR}."
    return results + result("cdi", bool(specs) and not missing, severity, stale if specs else f"no CDI specification of {specifications.KIND}", remedy)


def cdi_refresh(facts: Facts, limits: Facts) -> Results:
    """The toolkit's own units write the specification anew after a change of the driver."""
    failed = [name for name, state in sorted(facts["cdi"]["units"].items()) if state == "failed"]
    if not facts["cdi"]["units"]:
        return []
    remedy = f"See 'journalctl -u {failed[0]}', then run 'systemctl restart {failed[0]}'." if failed else ""
    return result("cdi_refresh", not failed, "warning", f"{', '.join(failed)} failed" if failed else "kept up to date by nvidia-cdi-refresh", remedy)


def _concerned(facts: Facts, limits: Facts) -> bool:
    """A Jetson has its own runtime."""
    return limits["gpu"] or (bool(facts["gpu"]["gpus"]) and facts["gpu"]["platform"] != "jetson")


def _severity(limits: Facts) -> str:
    return "error" if limits["gpu"] else "info"
