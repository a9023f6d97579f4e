# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenShell's programs, and what a NemoClaw or OpenShell that others installed has left. Private to the collection."""

from __future__ import annotations

import re

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.registry import ours
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host, Outcome

BINARIES = ("openshell", "openshell-gateway", "openshell-sandbox")
# What NemoClaw and OpenShell leave when they install themselves. Our own ~/.nemoclaw has a list of sandboxes too, which holds only ours.
TRACES = (
    ("nemoclaw", "/home/*/.nemoclaw/sandboxes.json"),
    ("nemoclaw", "/root/.nemoclaw/sandboxes.json"),
    ("nemoclaw", "/home/*/.nemoclaw/onboard-session.json"),
    ("nemoclaw", "/root/.nemoclaw/onboard-session.json"),
    ("openshell", "/home/*/.local/state/nemoclaw/openshell-docker-gateway*"),
    ("openshell", "/root/.local/state/nemoclaw/openshell-docker-gateway*"),
    ("openshell", "/home/*/.local/state/openshell/gateway"),
    ("openshell", "/root/.local/state/openshell/gateway"),
    ("openshell", "/usr/lib/systemd/user/openshell-gateway.service"),
    ("openshell", "/usr/local/lib/systemd/user/openshell-gateway.service"),
    ("openshell", "/home/*/.config/systemd/user/openshell-gateway.service"),
)
REGISTRY = "/sandboxes.json"
USER_UNITS = tuple(pattern for _kind, pattern in TRACES if pattern.endswith(".service"))


def commands(host: Host, bin_dir: str) -> dict[str, list[str]]:
    paths = {name: host.which(name, bin_dir) for name in BINARIES}
    return {name: [path, "--version"] for name, path in paths.items() if path}


def binaries(asked: dict[str, list[str]], outcomes: dict[str, Outcome]) -> dict[str, dict[str, str]]:
    """C({path, version}) of each OpenShell program; empty texts where it is missing."""
    found = {name: re.search(r"\d+\.\d+\.\d+\S*", outcomes[name].output) if name in outcomes else None for name in BINARIES}
    return {name: {"path": asked[name][0] if name in asked else "", "version": match.group() if match else ""} for name, match in found.items()}


def existing(host: Host, docker: dict, own: list[str]) -> list[dict[str, str]]:
    """Traces of a NemoClaw or OpenShell that this collection did not install: C([{kind, what}]). C(own) are the names of the gateways of this one."""
    found = [(kind, path) for kind, pattern in TRACES for path in host.glob(pattern) if not (path.endswith(REGISTRY) and ours(host.path(path)))]
    if program := host.which("nemoclaw"):
        found.append(("nemoclaw", program))
    if "openshell-cluster-nemoclaw" in docker.get("networks", {}):
        found.append(("openshell", "docker network openshell-cluster-nemoclaw"))
    for sandbox in docker.get("sandboxes", []):
        if sandbox["gateway"] not in own:
            found.append(("sandbox", f"sandbox {sandbox['name']} of gateway {sandbox['gateway'] or 'unknown'} ({sandbox['state']})"))
    return [{"kind": kind, "what": what} for kind, what in found]


def own_gateways(host: Host) -> list[str]:
    """Names of the gateways that this collection made here: it keeps a record of each."""
    return [path[len("/etc/nemoclaw-") : -len(".json")] for path in host.glob("/etc/nemoclaw-*.json")]


def lingering(host: Host) -> list[str]:
    """Users whose own units start at boot, where a gateway of OpenShell's own package is such a unit."""
    packaged = any(host.glob(pattern) for pattern in USER_UNITS)
    return [path.rpartition("/")[2] for path in host.glob("/var/lib/systemd/linger/*")] if packaged else []
