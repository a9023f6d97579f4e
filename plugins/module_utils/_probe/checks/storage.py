# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file systems. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import enough, result, slug

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import Facts, Results

NETWORKED = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "afs", "virtiofs")
MIN_FREE_INODES = 5  # percent


def disk(facts: Facts, limits: Facts) -> Results:
    """Free space for the system, the engine's data and what the caller names (such as the cache of models)."""
    more = {one["path"]: one["min_gb"] for one in limits["disks"]}
    results = []
    for path, found in sorted(facts["disks"].items()):
        least = more.get(path) or limits["min_disk_gb"]
        recommended = max(least, 0 if path in more else limits["recommended_disk_gb"])
        remedy = f"Free space on {found['mount']} ('docker system df' shows what images take), or move the engine's data root."
        results += enough(f"disk_{slug(path)}", found["free_gb"], least, recommended, f"GB free on {path} ({found['purpose']})", remedy)
    return results


def inodes(facts: Facts, limits: Facts) -> Results:
    results = []
    for path, found in sorted(facts["disks"].items()):
        free = found["free_inodes_percent"]
        detail = f"{free} % of {found['inodes']} inodes free on {path}" if found["inodes"] else f"{found['type']} on {path} has no fixed number of inodes"
        remedy = f"Remove small files on {found['mount']} ('docker image prune', 'docker builder prune'), or move the engine's data root."
        results += result(f"inodes_{slug(path)}", free >= MIN_FREE_INODES, "warning", detail, remedy)
    return results


def docker_data(facts: Facts, limits: Facts) -> Results:
    """Images and sandboxes lie on local file systems that can be written to and executed from."""
    settings = {facts["data_root"]: "'data-root' in /etc/docker/daemon.json"}
    settings.setdefault(facts["image_root"], "'root' in /etc/containerd/config.toml")
    results = [_data(facts, path, f"Put {path} on a local ext4 or xfs ({setting}).") for path, setting in settings.items()]
    return next((one for one in results if not one[0]["ok"]), results[0])


def _data(facts: Facts, path: str, remedy: str) -> Results:
    found = facts["disks"][path]
    kind, where = found["type"], f"{path} is on {found['type']} ({found['mount']})"
    wrong = [name for name in found["options"] if name != "nodev"]
    if kind in NETWORKED or kind.startswith("fuse") or wrong:
        return result("docker_data", False, "error", f"{where}{', mounted ' + ','.join(wrong) if wrong else ''}", remedy)
    lost = kind in ("tmpfs", "ramfs")
    return result("docker_data", not lost, "warning", f"{where}, and lost at a reboot" if lost else where, remedy)
