# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a host, read-only, with nothing but Python's standard library. Private to the collection."""

from __future__ import annotations

import contextlib
import grp
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import re
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import cdi, gpus
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import (
    caches,
    clock,
    engine,
    firewall,
    installed,
    kernel,
    listeners,
    network,
    package_hosts,
    resolver,
    servers,
    storage,
)
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

PYTHON_MODULES = {"docker": "docker", "requests": "requests", "yaml": "PyYAML"}  # module -> distribution
# units whose state tells who keeps the clock, who administers the firewall, and whether CDI specifications are kept up to date
UNITS = (*(f"{name}.service" for name in (*clock.SERVICES, "firewalld", "nftables", "nvidia-cdi-refresh")), "nvidia-cdi-refresh.path")
UNIT_PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState")


def gather(host: Host, options: dict[str, t.Any]) -> dict:
    """Everything, as RETURN of host_probe describes it; C(options) are its options."""
    now = time.time()  # before anything is waited for: the controller's time does not wait
    memory = memory_of(host.text("/proc/meminfo"))
    programs = installed.commands(host, options["bin_dir"])
    systemd = {"units": [host.which("systemctl"), "show", "-p", ",".join(UNIT_PROPERTIES), *UNITS]}
    of_servers = servers.commands(host)
    said = answers(host, {**programs, **engine.commands(host), **firewall.commands(host), **systemd, **of_servers})
    docker = engine.read(host, said["packages"].stdout if "packages" in said else "")
    wanted = options["network"]
    interface = docker.get("networks", {}).get(wanted["name"], {}).get("interface", "")
    packets = [firewall.Packet(wanted["subnet"], wanted["address"], port, interface) for port in wanted["ports"]]
    units = unit_states(said["units"].stdout)
    data_root = storage.data_root(host, docker)
    image_root = storage.image_root(host, docker.get("image_store", ""), data_root)
    found_servers = servers.read(host, of_servers, said, options["ollama_port"], options["openai_ports"])
    of_ollama = found_servers["ollama"]["unit"].get("models_dir")
    disks = {"/": "system", image_root: "images", data_root: "engine", **{one["path"]: one["purpose"] for one in options["disks"]}}
    return {
        "system": platform.system(),
        "arch": platform.machine(),
        "distribution": distribution(host.text("/etc/os-release")),
        "glibc": glibc(),
        "init": host.text("/proc/1/comm"),
        **kernel.read(host),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": memory["MemTotal"],
        "swap_mb": memory["SwapTotal"],
        "disks": storage.read(host, disks),
        "caches": caches.read(host, [*options["caches"], *([of_ollama] if of_ollama else [])]),
        "python": {"version": platform.python_version(), "modules": {name: module_version(name) for name in PYTHON_MODULES}},
        "users": {name: account(name) for name in sorted(set(options["users"]))},
        "gateways": installed.own_gateways(host),
        "lingering": installed.lingering(host),
        "docker": docker,
        "data_root": data_root,
        "image_root": image_root,
        "credential_helpers": {name: engine.credential_helper(host, home_of(name)) for name in sorted(set(options["users"]))},
        "openshell": installed.binaries(programs, said),
        "ports": listeners.read(host, options["ports"]),
        "servers": found_servers,
        "services": listeners.read(host, [dict(one, address="0.0.0.0") for one in options["services"]]),
        "networks": network.read(host),
        "proxy": network.proxies(host),
        "package_hosts": package_hosts.read(host, ["/root", *(home_of(name) for name in sorted(set(options["users"])))]),
        "dns": resolver.read(host, storage.daemon_settings(host).get("dns") or []),
        "firewall": firewall.read(host, packets, said, units),
        "clock": clock.read(options["controller_time"], now, units),
        "existing": installed.existing(host, docker, installed.own_gateways(host)),
        "gpu": gpus.read(host, memory["MemTotal"], options["gpu_timeout"]),
        "cdi": {**cdi.read(host), "units": {name: one["ActiveState"] for name, one in units.items() if "cdi-refresh" in name and one["LoadState"] == "loaded"}},
    }


def answers(host: Host, commands: dict[str, list[str]]) -> dict:
    """How each command ended, by its name; they run side by side."""
    return dict(zip(commands, host.run(*commands.values())))


def unit_states(shown: str) -> dict[str, dict[str, str]]:
    """The properties of each unit in what C(systemctl show) printed."""
    entries = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in shown.split("\n\n")]
    return {entry["Id"]: entry for entry in entries if set(UNIT_PROPERTIES) <= set(entry)}


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


def home_of(name: str) -> str:
    found = account(name)
    return found["home"] if found else ""
