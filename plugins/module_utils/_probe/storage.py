# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file systems that images, sandboxes and models lie on. Private to the collection."""

from __future__ import annotations

import json
import os
import re

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

DATA_ROOT = "/var/lib/docker"
# the configuration of a containerd that the engine has started itself, and of the system's
CONTAINERD = ("/var/run/docker/containerd/containerd.toml", "/etc/containerd/config.toml")
CONTAINERD_ROOT = "/var/lib/containerd"


def data_root(host: Host, docker: dict) -> str:
    """Where the engine keeps its data, or would keep it if it ran."""
    return docker.get("data_root") or daemon_settings(host).get("data-root") or DATA_ROOT


def image_root(host: Host, image_store: str, data_root: str) -> str:
    """Where the images lie: those that are left to containerd are not in the engine's data root."""
    if image_store != "containerd":
        return data_root
    settings = next((host.text(path) for path in CONTAINERD if host.exists(path)), "")
    found = re.search(r"""^root\s*=\s*["'](.+)["']""", settings.partition("\n[")[0], re.MULTILINE)
    return found[1] if found else CONTAINERD_ROOT


def daemon_settings(host: Host) -> dict:
    """/etc/docker/daemon.json; empty where there is none that can be read."""
    try:
        found = json.loads(host.text("/etc/docker/daemon.json") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def read(host: Host, paths: dict[str, str]) -> dict[str, dict]:
    """Each path with its C(purpose), the size of its file system and what is free there; a path that is not there yet by its nearest parent."""
    mounts = mounted(host.text("/proc/self/mounts"))
    return {path: {"purpose": purpose, **_describe(host, _nearest(host, path), mounts)} for path, purpose in paths.items()}


def _nearest(host: Host, path: str) -> str:
    while path != "/" and not host.exists(path):
        path = os.path.dirname(path.rstrip("/")) or "/"
    return path


def _describe(host: Host, path: str, mounts: list[tuple[str, str, list[str]]]) -> dict:
    found = os.statvfs(host.path(path))
    real = os.path.realpath(path)
    # of mounts on one point the last one is seen
    point, kind, options = max([*(one for one in mounts if _holds(one[0], real)), ("/", "", [])], key=lambda one: len(one[0]))
    return {
        "total_gb": found.f_blocks * found.f_frsize // 10**9,
        "free_gb": found.f_bavail * found.f_frsize // 10**9,
        "inodes": found.f_files,
        "free_inodes_percent": found.f_favail * 100 // found.f_files if found.f_files else 100,
        "mount": point,
        "type": kind,
        "options": sorted(set(options) & {"ro", "noexec", "nodev"}),
    }


def _holds(point: str, path: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def mounted(table: str) -> list[tuple[str, str, list[str]]]:
    """C([(mount point, type, options)]) of /proc/self/mounts, the latest first."""
    rows = [line.split() for line in table.splitlines()]
    return [(row[1].replace("\\040", " "), row[2], row[3].split(",")) for row in reversed(rows) if len(row) > 3]
