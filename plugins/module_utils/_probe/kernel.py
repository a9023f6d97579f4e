# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel offers for confining a sandbox. Private to the collection."""

from __future__ import annotations

import ctypes
import platform

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

LANDLOCK_CREATE_RULESET = 444
LANDLOCK_VERSION_FLAG = 1
LIMITED = ("cpu", "memory", "pids")  # what a sandbox's limits are made with


def read(host: Host) -> dict:
    """The facts that are about the kernel, see RETURN of host_probe."""
    release = platform.release()
    unified = host.exists("/sys/fs/cgroup/cgroup.controllers")
    listed = host.text("/sys/fs/cgroup/cgroup.controllers").split() if unified else enabled(host.text("/proc/cgroups"))
    return {
        "kernel": release,
        "landlock_abi": landlock_abi(),
        "seccomp": host.exists("/proc/sys/kernel/seccomp/actions_avail"),
        "cgroup_version": 2 if unified else 1,
        "cgroup_controllers": sorted(set(listed) & set(LIMITED)),
        "overlay": "\toverlay" in host.text("/proc/filesystems") or bool(host.glob(f"/lib/modules/{release}/kernel/fs/overlayfs/overlay.ko*")),
        "user_namespaces": user_namespaces(
            host.text("/proc/sys/user/max_user_namespaces"),
            host.text("/proc/sys/kernel/unprivileged_userns_clone"),
            host.text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        ),
        "lsm": sorted(filter(None, host.text("/sys/kernel/security/lsm").split(","))),
        "selinux": {"1": "enforcing", "0": "permissive"}.get(host.text("/sys/fs/selinux/enforce"), ""),
        "apparmor": host.text("/sys/module/apparmor/parameters/enabled") == "Y",
    }


def landlock_abi() -> int:
    """The kernel's Landlock ABI; 0 when it is not built in or not enabled."""
    try:
        return max(0, ctypes.CDLL(None, use_errno=True).syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION_FLAG))
    except (OSError, AttributeError):
        return 0


def enabled(table: str) -> list[str]:
    """The controllers of /proc/cgroups (version 1) that are switched on."""
    rows = [line.split() for line in table.splitlines() if not line.startswith("#")]
    return [row[0] for row in rows if len(row) == 4 and row[3] == "1"]


def user_namespaces(most: str, clone: str, restricted: str) -> str:
    """Who may make a user namespace, from three settings of the kernel: C(all), C(confined) (by AppArmor profiles), C(root) or C(none)."""
    if most in ("", "0"):
        return "none"
    if clone == "0":
        return "root"
    return "confined" if restricted == "1" else "all"
