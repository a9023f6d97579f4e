# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a host, read-only, with nothing but Python's standard library. Private to the collection."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import grp
import importlib.metadata
import importlib.util
import ipaddress
import os
import platform
import pwd
import re
import socket
import struct

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import cdi, gpus
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import engine, listeners
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

PYTHON_MODULES = {"docker": "docker", "requests": "requests", "yaml": "PyYAML"}  # module -> distribution
BINARIES = ("openshell", "openshell-gateway", "openshell-sandbox")
# What NemoClaw and OpenShell leave when they install themselves; our own ~/.nemoclaw holds only runs/.
TRACES = (
    ("nemoclaw", "/home/*/.nemoclaw/sandboxes.json"),
    ("nemoclaw", "/root/.nemoclaw/sandboxes.json"),
    ("nemoclaw", "/home/*/.nemoclaw/onboard-session.json"),
    ("nemoclaw", "/root/.nemoclaw/onboard-session.json"),
    ("openshell", "/home/*/.local/state/nemoclaw/openshell-docker-gateway*"),
    ("openshell", "/root/.local/state/nemoclaw/openshell-docker-gateway*"),
    ("openshell", "/usr/lib/systemd/user/openshell-gateway.service"),
    ("openshell", "/usr/local/lib/systemd/user/openshell-gateway.service"),
)
SIOCGIFADDR = 0x8915
LANDLOCK_CREATE_RULESET = 444
LANDLOCK_VERSION_FLAG = 1


def gather(host: Host, users: list[str], ports: list[dict], bin_dir: str, gpu_timeout: float) -> dict:
    """Everything, as RETURN of host_probe describes it. C(ports) is C([{port, address, purpose, ours}])."""
    memory = memory_of(host.text("/proc/meminfo"))
    docker = engine.read(host)
    names = sorted(set(users))
    return {
        "system": platform.system(),
        "arch": platform.machine(),
        "kernel": platform.release(),
        "distribution": distribution(host.text("/etc/os-release")),
        "glibc": glibc(),
        "init": host.text("/proc/1/comm"),
        "cgroup_version": 2 if host.exists("/sys/fs/cgroup/cgroup.controllers") else 1,
        "landlock_abi": landlock_abi(),
        "lsm": sorted(filter(None, host.text("/sys/kernel/security/lsm").split(","))),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": memory["MemTotal"],
        "swap_mb": memory["SwapTotal"],
        "disks": {path: disk(host.path(path)) for path in ["/", docker.get("data_root")] if path and host.exists(path)},
        "python": {"version": platform.python_version(), "modules": {name: module_version(name) for name in PYTHON_MODULES}},
        "users": {name: account(name) for name in names},
        "docker": docker,
        "openshell": binaries(host, bin_dir),
        "ports": listeners.read(host, ports),
        "networks": {"routes": routes(host.text("/proc/net/route")), "addresses": addresses()},
        "proxy": {name: engine.mask_url(os.environ.get(name) or os.environ.get(name.upper(), "")) for name in ("http_proxy", "https_proxy", "no_proxy")},
        "existing": existing(host, docker),
        "gpu": gpus.read(host, memory["MemTotal"], gpu_timeout),
        "cdi": cdi.read(host),
    }


def distribution(os_release: str) -> dict:
    """C({id, version, name, like}) of /etc/os-release."""
    values = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    return {
        "id": values.get("ID", ""),
        "version": values.get("VERSION_ID", ""),
        "name": values.get("PRETTY_NAME", ""),
        "like": values.get("ID_LIKE", "").split(),
    }


def glibc() -> str:
    """The version of glibc; an empty string where the C library is another."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")[2]
    except (OSError, ValueError):
        return ""


def memory_of(meminfo: str) -> dict[str, int]:
    """C(MemTotal) and C(SwapTotal) of /proc/meminfo in MiB."""
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo, re.MULTILINE))
    return {name: int(values.get(name, 0)) // 1024 for name in ("MemTotal", "SwapTotal")}


def disk(path: str) -> dict[str, int]:
    """Size of and free space on the file system of a path, in GB (10^9 bytes)."""
    found = os.statvfs(path)
    return {"total_gb": found.f_blocks * found.f_frsize // 10**9, "free_gb": found.f_bavail * found.f_frsize // 10**9}


def module_version(name: str) -> str:
    """The version of a Python module of this interpreter, found without importing it; an empty string when there is none."""
    if importlib.util.find_spec(name) is None:
        return ""
    try:
        return importlib.metadata.version(PYTHON_MODULES[name])
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def account(name: str) -> dict | None:
    """C({uid, gid, home, shell, groups}) of a user, None when there is no such user."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = {group.gr_name for group in grp.getgrall() if name in group.gr_mem}
    with contextlib.suppress(KeyError):
        groups.add(grp.getgrgid(entry.pw_gid).gr_name)
    return {"uid": entry.pw_uid, "gid": entry.pw_gid, "home": entry.pw_dir, "shell": entry.pw_shell, "groups": sorted(groups)}


def landlock_abi() -> int:
    """The kernel's Landlock ABI; 0 when it is not built in or not enabled."""
    try:
        return max(0, ctypes.CDLL(None, use_errno=True).syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION_FLAG))
    except (OSError, AttributeError):
        return 0


def binaries(host: Host, bin_dir: str) -> dict[str, dict[str, str]]:
    """C({path, version}) of each OpenShell program in the directory, else on PATH."""
    paths = {name: host.which(name, bin_dir) for name in BINARIES}
    present = [name for name in BINARIES if paths[name]]
    versions = dict.fromkeys(BINARIES, "")
    for name, outcome in zip(present, host.run(*[(paths[name], "--version") for name in present])):
        found = re.search(r"\d+\.\d+\.\d+\S*", outcome.output)
        versions[name] = found.group() if found else ""
    return {name: {"path": paths[name], "version": versions[name]} for name in BINARIES}


def routes(table: str) -> list[str]:
    """The IPv4 networks this host has a route to, but for the default route: a chosen subnet must not overlap them."""
    found = set()
    for line in table.splitlines()[1:]:
        cells = line.split()
        destination, mask = (socket.inet_ntoa(struct.pack("=I", int(cells[index], 16))) for index in (1, 7))
        found.add(ipaddress.ip_network(f"{destination}/{mask}"))
    return [str(network) for network in sorted(found) if network.prefixlen]


def addresses() -> dict[str, str]:
    """The first IPv4 address of each interface that has one."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name[:15].encode()))
            except OSError:
                continue
            found[name] = socket.inet_ntoa(answer[20:24])
    return dict(sorted(found.items()))


def existing(host: Host, docker: dict) -> list[dict[str, str]]:
    """Traces of a NemoClaw or OpenShell that this collection did not install: C([{kind, what}])."""
    paths = [(kind, path) for kind, pattern in TRACES for path in host.glob(pattern)]
    program = host.which("nemoclaw")
    if program:
        paths.append(("nemoclaw", program))
    if "openshell-cluster-nemoclaw" in docker.get("networks", {}):
        paths.append(("openshell", "docker network openshell-cluster-nemoclaw"))
    return [{"kind": kind, "what": what} for kind, what in paths]
