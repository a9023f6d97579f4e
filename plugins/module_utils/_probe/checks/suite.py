# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the facts of a host mean for an onboarding: all checks, and their report. Pure functions; private to the collection.

A check takes the facts (RETURN of host_probe) and the limits (the module's options) and returns a list of results, most of them one. A new check is a
function in the module of its subject, named in C(CHECKS), and a row in docs/preparing-hosts.md. C(error) stops before any change, C(warning) and
C(info) stay in the report.
"""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks import engine, gpu, installed, kernel, network, ports, storage, system

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import Facts, Results

CHECKS = (
    system.platform, system.distribution, system.python, system.python_modules, system.init, system.glibc, system.cpus, system.memory, system.swap,
    storage.disk, storage.inodes,
    kernel.landlock, kernel.seccomp, kernel.cgroup, kernel.overlay, kernel.user_namespaces, kernel.mandatory_access,
    engine.docker, engine.docker_group, engine.docker_credentials, storage.docker_data, network.docker_proxy,
    gpu.gpu, gpu.nvidia_driver, gpu.nvidia_toolkit, gpu.cdi, gpu.cdi_refresh,
    network.dns, network.dns_container, network.proxy, network.mtu, network.firewall, ports.ports, ports.services,
    system.clock, system.clock_sync, system.linger, installed.openshell, installed.existing, installed.network_name,
)  # fmt: skip
# what a run repairs where it is allowed to, and the checks whose fault is mended by it
REPAIRS = {
    "swap": ("swap",),
    "docker": ("docker_present", "docker_running", "docker_version", "docker_cdi"),
    "group": ("docker_group",),
    "firewall": ("firewall",),
    "clock": ("clock", "clock_sync"),
    "cdi": ("nvidia_toolkit", "docker_cdi", "cdi"),
}
ORDER = {"error": 0, "warning": 1, "info": 2}


def run(facts: Facts, limits: Facts) -> Results:
    """All checks, failed ones first and the gravest of them first.

    An error that the caller repairs by itself is a warning; C(limits['repair']) holds names of C(REPAIRS) or of checks.
    """
    results = [one for check in CHECKS for one in check(facts, limits)]
    repaired = {name for repair in limits["repair"] for name in REPAIRS.get(repair, (repair,))}
    for one in results:
        if not one["ok"] and one["name"] in repaired:
            one.update(severity="warning" if one["severity"] == "error" else one["severity"], remedy="Repaired by this run.")
    return sorted(results, key=lambda one: (one["ok"], ORDER[one["severity"]]))


def ok(results: Results) -> bool:
    return not any(one["severity"] == "error" and not one["ok"] for one in results)


def table(results: Results) -> list[str]:
    """The results as lines that a person reads: a status, the check, what was found; below a fault what to do about it."""
    width = max((len(one["name"]) for one in results), default=0)
    lines = []
    for one in results:
        lines.append(f"{'ok' if one['ok'] else one['severity'].upper():<8} {one['name']:<{width}}  {one['detail']}")
        if one["remedy"]:
            lines.append(f"{'':<8} {'':<{width}}  -> {one['remedy']}")
    return lines + ([summary(results)] if results else [])


def summary(results: Results) -> str:
    """How many checks there were and how they ended."""
    failed = [one["severity"] for one in results if not one["ok"]]
    counts = [f"{failed.count(severity)} {severity}{'s' if failed.count(severity) > 1 else ''}" for severity in ORDER if severity in failed]
    return f"{len(results)} checks: {', '.join(counts) or 'all well'}"
