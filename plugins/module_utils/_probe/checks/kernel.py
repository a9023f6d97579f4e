# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What confines a sandbox. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import result

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import Facts, Results

CONTROLLERS = ("cpu", "memory", "pids")


def landlock(facts: Facts, limits: Facts) -> Results:
    abi = facts["landlock_abi"]
    remedy = "Boot a kernel of 5.13 or later with 'landlock' in its lsm= list; without it a sandbox sees more of its file system than its policy says."
    return result("landlock", abi > 0, "warning", f"Landlock ABI {abi}" if abi else f"kernel {facts['kernel']} has no Landlock", remedy)


def seccomp(facts: Facts, limits: Facts) -> Results:
    remedy = "Boot the distribution's own kernel (CONFIG_SECCOMP_FILTER): sandboxes cannot be confined with this one."
    return result("seccomp", facts["seccomp"], "error", "seccomp filters" if facts["seccomp"] else f"kernel {facts['kernel']} has no seccomp filters", remedy)


def cgroup(facts: Facts, limits: Facts) -> Results:
    missing = [name for name in CONTROLLERS if name not in facts["cgroup_controllers"]]
    if missing:
        remedy = f"Boot with 'cgroup_enable={missing[0]}', or the distribution's own kernel: CPU and memory limits of sandboxes have no effect."
        return result("cgroup", False, "warning", f"version {facts['cgroup_version']} without {', '.join(missing)}", remedy)
    remedy = "It works; newer systems have version 2 only ('systemd.unified_cgroup_hierarchy=1' on the kernel's command line)."
    return result("cgroup", facts["cgroup_version"] == 2, "info", f"version {facts['cgroup_version']}", remedy)


def overlay(facts: Facts, limits: Facts) -> Results:
    remedy = "Run 'modprobe overlay', or boot the distribution's own kernel: without it the engine copies every image for each container."
    return result("overlay", facts["overlay"], "warning", "overlayfs" if facts["overlay"] else "the kernel has no overlayfs", remedy)


def user_namespaces(facts: Facts, limits: Facts) -> Results:
    """OpenShell needs none; a browser in a sandbox does."""
    found = facts["user_namespaces"]
    detail = {"all": "for all", "confined": "for programs that AppArmor knows", "root": "for root only", "none": "none"}[found]
    remedy = "Nothing to do for OpenShell; a browser inside a sandbox runs without its own sandbox. See 'sysctl user.max_user_namespaces'."
    return result("user_namespaces", found in ("all", "confined"), "info", detail, remedy)


def mandatory_access(facts: Facts, limits: Facts) -> Results:
    detail = f"SELinux {facts['selinux']}" if facts["selinux"] else "AppArmor" if facts["apparmor"] else "neither SELinux nor AppArmor"
    remedy = "Not tested here: mounts of sandboxes may need labels ('chcon -Rt container_file_t DIR'); see 'ausearch -m avc' when something is denied."
    return result("mandatory_access", facts["selinux"] != "enforcing", "warning", detail, remedy)
