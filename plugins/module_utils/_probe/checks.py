# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the facts of a host mean for an onboarding. Pure functions; private to the collection.

A check takes the facts (RETURN of host_probe) and the limits (the module's options) and returns a list of results, most of them one.
A new check is a function here and its name in C(CHECKS). C(error) stops before any change, C(warning) and C(info) stay in the report.
"""

from __future__ import annotations

import re
import typing as t

ARCHITECTURES = ("x86_64", "aarch64")
PYTHON_MIN = "3.9"
# Tested distributions and the oldest version of each; DGX OS calls itself Ubuntu.
DISTRIBUTIONS = {"debian": "12", "ubuntu": "22.04"}
SLOW_STORAGE = ("vfs", "devicemapper")
LOOPBACK = ("localhost", "127.0.0.1")

if t.TYPE_CHECKING:  # Python 3.8 could not evaluate them, and is to be told so by a check
    Facts = dict[str, t.Any]
    Results = list[dict[str, t.Any]]


def result(name: str, ok: bool, severity: str, detail: str, remedy: str = "") -> Results:
    """One result; the remedy is kept only where it is needed."""
    return [{"name": name, "ok": ok, "severity": severity, "detail": detail, "remedy": "" if ok else remedy}]


def version(text: str) -> tuple[int, ...]:
    """C("20.10.24+dfsg1") -> (20, 10, 24): the leading numbers, to compare."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


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


def landlock(facts: Facts, limits: Facts) -> Results:
    abi = facts["landlock_abi"]
    remedy = "Boot a kernel of 5.13 or later with 'landlock' in its lsm= list; without it a sandbox sees more of its file system than its policy says."
    return result("landlock", abi > 0, "warning", f"Landlock ABI {abi}" if abi else f"kernel {facts['kernel']} has no Landlock", remedy)


def docker(facts: Facts, limits: Facts) -> Results:
    """Present, then running, then fit: what is not there is not judged further."""
    found = facts["docker"]
    if not found["present"]:
        return result("docker_present", False, "error", "no Docker engine", "Run 'apt-get install docker.io', or install Docker's own packages.")
    results = result("docker_present", True, "error", found["cli"] or "engine socket")
    if not found["running"]:
        remedy = "Run 'systemctl enable --now docker' and see 'journalctl -u docker' when it does not start."
        if "Permission denied" in found["error"]:
            remedy = "Run with become: true, or put the connecting user into the group docker."
        return results + result("docker_running", False, "error", f"the engine does not answer: {found['error']}", remedy)
    results += result("docker_running", not found["errors"], "error", "; ".join(found["errors"]) or "the engine answers", "See 'docker info'.")
    name, number, least = found["engine"], found["version"], limits["docker_min"]
    remedy = "Podman stands in Docker's place: install the Docker engine (package docker.io) and remove podman-docker."
    results += result("docker_engine", name == "docker", "error", f"{name} {number}", remedy)
    if name == "docker":
        remedy = f"Update the Docker engine to {least} or newer."
        results += result("docker_version", version(number) >= version(least), "error", f"{number} (API {found['api_version']})", remedy)
    driver = found["storage_driver"]
    remedy = f"Every container copies its image with {driver}: put {found['data_root']} on ext4 or xfs so that the engine can use overlay2."
    return results + result("docker_storage", driver not in SLOW_STORAGE, "warning", f"{driver} in {found['data_root']}", remedy)


def cpus(facts: Facts, limits: Facts) -> Results:
    return _at_least("cpus", facts["cpus"], limits["min_cpus"], "CPUs", "Give the host more CPUs, or expect slow image builds and agents.")


def memory(facts: Facts, limits: Facts) -> Results:
    remedy = "Give the host more memory or swap; image builds and agents may be killed for lack of it."
    return _at_least("memory", facts["memory_mb"], limits["min_memory_mb"], "MB", remedy)


def disk(facts: Facts, limits: Facts) -> Results:
    results = []
    for path, found in sorted(facts["disks"].items()):
        remedy = f"Free space on {path} ('docker system df' shows what images take), or move the engine's data root."
        results += _at_least("disk_" + (path.strip("/").replace("/", "_") or "root"), found["free_gb"], limits["min_disk_gb"], f"GB free on {path}", remedy)
    return results


def _at_least(name: str, found: int, least: int, unit: str, remedy: str) -> Results:
    return result(name, found >= least, "warning", f"{found} {unit}" + (f", {least} are the minimum" if found < least else ""), remedy)


def ports(facts: Facts, limits: Facts) -> Results:
    return [one for port in facts["ports"] for one in _port(port, limits["own_units"])]


def _port(port: Facts, own_units: list[str]) -> Results:
    name = f"port_{port['port']}"
    where = f"{port['address']}:{port['port']}" + (f" ({port['purpose']})" if port["purpose"] else "")
    for holder in port["listeners"]:
        own = holder["unit"].startswith(tuple(own_units))
        if own and holder["unit"].startswith(port["ours"]):
            continue
        who = f"{holder['process'] or 'another program'} (pid {holder['pid'] or '?'}, user {holder['user']}{', ' if holder['unit'] else ''}{holder['unit']})"
        detail = f"{where} is held by {who} on {holder['address']}"
        change = f"or set {port['variable']} to a free port" if port["variable"] else "or choose another port"
        if own:
            return result(name, False, "warning", detail, "Another unit of this collection holds it: fine when this run moves that one elsewhere.")
        return result(name, False, "error", detail, f"{_stop(holder, port['port'])} {change}.")
    return result(name, True, "error", f"{where} is {'held by its own unit' if port['listeners'] else 'free'}")


def _stop(holder: Facts, port: int) -> str:
    if holder["process"] == "docker-proxy":
        return f"Find the container with 'docker ps --filter publish={port}' and stop it,"
    if holder["unit"]:
        return f"Stop it ('systemctl disable --now {holder['unit']}')"
    return f"Stop it ('kill {holder['pid']}')" if holder["pid"] else f"Find its program with 'ss -ltnp sport = :{port}' as root and stop it,"


def openshell(facts: Facts, limits: Facts) -> Results:
    """Programs found must be of the supported range; that there are none yet is no fault."""
    least, below = limits["openshell_min"], limits["openshell_max"]
    results = []
    for name, found in sorted(facts["openshell"].items()):
        if not found["path"]:
            continue
        number = version(found["version"])
        ok = bool(number) and (not least or number >= version(least)) and (not below or number < version(below))
        detail = f"{found['path']} is {found['version'] or 'of an unknown version'}"
        remedy = f"OpenShell from {least or 'any'} to below {below or 'any'} is supported: remove it, or install elsewhere (nemoclaw_openshell.bin_dir)."
        results += result(name.replace("-", "_"), ok, "error", detail, remedy)
    return results


def existing(facts: Facts, limits: Facts) -> Results:
    found = ", ".join(one["what"] for one in facts["existing"])
    remedy = "They are left alone; where both want the same port or gateway name, give ours others (nemoclaw_gateway)."
    return result("existing", not found, "info", f"installations of others: {found}" if found else "no other NemoClaw or OpenShell", remedy)


def proxy(facts: Facts, limits: Facts) -> Results:
    """With a proxy, loopback must be excepted, or requests to the gateway and to local models go to the proxy."""
    found = facts["proxy"]
    excepted = re.split(r"[,\s]+", found["no_proxy"])
    missing = [name for name in LOOPBACK if name not in excepted and "*" not in excepted]
    if not (found["http_proxy"] or found["https_proxy"]):
        return result("proxy", True, "warning", "no proxy")
    remedy = f"Add {','.join(missing)} to no_proxy in /etc/environment."
    return result("proxy", not missing, "warning", f"{found['https_proxy'] or found['http_proxy']}, no_proxy={found['no_proxy']}", remedy)


def gpu(facts: Facts, limits: Facts) -> Results:
    found = facts["gpu"]
    names = ", ".join(f"{one['name']} {one['memory_mb'] or '?'} MiB" for one in found["gpus"])
    return result("gpu", found["status"] in ("ok", "none"), "warning", found["detail"] or f"{found['platform']}: {names}", found["remedy"])


CHECKS = (
    platform, distribution, python, python_modules, init, glibc, landlock, docker, cpus, memory, disk, ports, openshell, existing, proxy, gpu,
)  # fmt: skip
ORDER = {"error": 0, "warning": 1, "info": 2}


def run(facts: Facts, limits: Facts) -> Results:
    """All checks, failed ones first and the gravest of them first.

    An error that a role repairs by itself (its name is in C(limits['repair'])) is a warning.
    """
    results = [one for check in CHECKS for one in check(facts, limits)]
    for one in results:
        if not one["ok"] and one["severity"] == "error" and one["name"] in limits["repair"]:
            one.update(severity="warning", remedy=f"Repaired by this run. {one['remedy']}")
    return sorted(results, key=lambda one: (one["ok"], ORDER[one["severity"]]))


def report(results: Results) -> list[str]:
    """The failed checks as lines that a person reads."""
    failed = [one for one in results if not one["ok"]]
    width = max([len(one["name"]) for one in failed], default=0)
    return [f"{one['severity'].upper():<7}  {one['name']:<{width}}  {one['detail']}  ->  {one['remedy']}" for one in failed]
