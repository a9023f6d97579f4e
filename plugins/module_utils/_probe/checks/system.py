# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine and its system. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import enough, result, version

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import Facts, Results

ARCHITECTURES = ("x86_64", "aarch64")
PYTHON_MIN = "3.9"
# Tested distributions and the oldest version of each; DGX OS calls itself Ubuntu.
DISTRIBUTIONS = {"debian": "12", "ubuntu": "22.04"}
CLOCK_WRONG, CLOCK_OFF = 300, 60  # seconds; the controller's time is as old as the way of a task to the host takes


def platform(facts: Facts, limits: Facts) -> Results:
    ok = facts["system"] == "Linux" and facts["arch"] in ARCHITECTURES
    remedy = f"OpenShell's programs exist for Linux on {' and '.join(ARCHITECTURES)} only: take this host out of the inventory."
    return result("platform", ok, "error", f"{facts['system']} {facts['arch']}, kernel {facts['kernel']}", remedy)


def distribution(facts: Facts, limits: Facts) -> Results:
    found = facts["distribution"]
    oldest = DISTRIBUTIONS.get(found["id"])
    ok = bool(oldest) and version(found["version"]) >= version(oldest or "")
    tested = ", ".join(f"{name} {first}" for name, first in DISTRIBUTIONS.items())
    return result("distribution", ok, "warning", found["name"] or "no /etc/os-release", f"Not tested here (tested from {tested} on); go on with care.")


def python(facts: Facts, limits: Facts) -> Results:
    found = facts["python"]["version"]
    remedy = f"Install Python {PYTHON_MIN} or newer and name it in ansible_python_interpreter (DGX OS 5 has 3.8: update to DGX OS 6 or 7)."
    return result("python", version(found) >= version(PYTHON_MIN), "error", f"Python {found}", remedy)


def python_modules(facts: Facts, limits: Facts) -> Results:
    missing = [name for name in ("docker", "requests") if not facts["python"]["modules"][name]]
    packages = " ".join(f"python3-{name}" for name in missing)
    detail = f"missing: {', '.join(missing)}" if missing else "docker and requests are there"
    return result("python_modules", not missing, "error", detail, f"Run 'apt-get install {packages}'.")


def init(facts: Facts, limits: Facts) -> Results:
    remedy = "Gateway, agents and forwards are systemd units: use a host that systemd has booted (in a container: /lib/systemd/systemd as PID 1)."
    return result("init", facts["init"] == "systemd", "error", f"PID 1 is {facts['init'] or 'unknown'}", remedy)


def glibc(facts: Facts, limits: Facts) -> Results:
    found, least = facts["glibc"], limits["min_glibc"]
    remedy = f"openshell-gateway needs glibc {least} or newer: update the distribution."
    return result("glibc", version(found) >= version(least), "error", f"glibc {found}" if found else "no glibc", remedy)


def cpus(facts: Facts, limits: Facts) -> Results:
    least = limits["min_cpus"]
    return enough("cpus", facts["cpus"], least, least, "CPUs", "Give the host more CPUs, or expect slow image builds and agents.")


def memory(facts: Facts, limits: Facts) -> Results:
    remedy = "Give the host more memory; image builds and agents may be killed for lack of it."
    return enough("memory", facts["memory_mb"], limits["min_memory_mb"], limits["recommended_memory_mb"], "MB", remedy)


def swap(facts: Facts, limits: Facts) -> Results:
    """An image build next to running agents needs both together."""
    both, least = facts["memory_mb"] + facts["swap_mb"], limits["min_memory_and_swap_mb"]
    detail = f"{facts['swap_mb']} MB of swap, {both} MB with the memory" + (f", {least} are the minimum" if both < least else "")
    return result("swap", both >= least, "warning", detail, "Set nemoclaw_preflight_repair: [swap] (its size: nemoclaw_swap), or add swap by hand.")


def clock(facts: Facts, limits: Facts) -> Results:
    """A clock that is wrong makes certificates and tokens invalid."""
    offset = facts["clock"]["offset_s"]
    if offset is None:
        return result("clock", True, "error", "not compared with the controller's")
    detail = f"{abs(offset)} s {'ahead of' if offset > 0 else 'behind'} the controller's" if offset else "as the controller's"
    remedy = "Set nemoclaw_preflight_repair: [clock], or run 'timedatectl set-ntp true'; see that the controller's own clock is right."
    return result("clock", abs(offset) <= CLOCK_OFF, "error" if abs(offset) > CLOCK_WRONG else "warning", detail, remedy)


def clock_sync(facts: Facts, limits: Facts) -> Results:
    found = facts["clock"]
    ok = found["synchronised"] is not False or bool(found["service"])
    detail = f"kept by {found['service']}" if found["service"] else "synchronised" if ok else "nothing keeps the clock right"
    remedy = "Set nemoclaw_preflight_repair: [clock], or run 'apt-get install systemd-timesyncd' and 'timedatectl set-ntp true'."
    return result("clock_sync", ok, "warning", detail, remedy)


def linger(facts: Facts, limits: Facts) -> Results:
    """Units of this collection are the system's and need no lingering user; a gateway of OpenShell's own package is a user's unit, and takes the port first."""
    found = ", ".join(facts["lingering"])
    detail = f"OpenShell's own user unit can start at boot for {found}" if found else "no user's gateway starts at boot"
    remedy = f"Run 'systemctl --user disable --now openshell-gateway' as {found}, or 'loginctl disable-linger' for them."
    return result("linger", not found, "warning", detail, remedy)
