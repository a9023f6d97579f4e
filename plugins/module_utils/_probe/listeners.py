# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port: /proc only, no ss or lsof. Private to the collection."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import re
import socket
import struct
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

LISTEN = "0A"
# a listener that ends or begins while it is looked at has no name; without root, another user's never has one
ATTEMPTS, PAUSE = 4, 0.1
STALE_PROXY = "NemoClaw's own Ollama proxy"


def parse(table: str) -> list[dict]:
    """The listening sockets of /proc/net/tcp or tcp6: C([{address, port, uid, inode}])."""
    sockets = []
    for line in table.splitlines()[1:]:
        cells = line.split()
        if len(cells) > 9 and cells[3] == LISTEN:
            address, _colon, port = cells[1].partition(":")
            sockets.append({"address": _address(address), "port": int(port, 16), "uid": int(cells[7]), "inode": int(cells[9])})
    return sockets


def _address(digits: str) -> str:
    """The kernel prints an address as 32-bit words in the machine's byte order."""
    words = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def collides(wanted: str, listening: str) -> bool:
    """Would binding to C(wanted) fail because of a listener at C(listening)? Names are taken as loopback."""
    wildcard = ("0.0.0.0", "::")
    try:
        ipaddress.ip_address(wanted)
    except ValueError:
        wanted = socket.gethostbyname("localhost")
    return wanted in wildcard or listening in wildcard or wanted == listening


def unit_of(cgroups: str) -> str:
    """The system's service in /proc/PID/cgroup, of either cgroup version; an empty string when in none. Those of a user's own systemd are not the system's."""
    for line in cgroups.splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd") and "user.slice" not in path.split("/"):
            services = re.findall(r"([^/]+\.service)(?=/|$)", path)
            if services:
                return services[-1]
    return ""


def read(host: Host, ports: list[dict]) -> list[dict]:
    """Each asked port with C(listeners): what stands in its way, or holds it for us."""
    found: list[dict] = []
    for _attempt in range(ATTEMPTS):
        found = _read(host, ports)
        if all(holder["process"] for port in found for holder in port["listeners"]):
            break
        time.sleep(PAUSE)
    return found


def _read(host: Host, ports: list[dict]) -> list[dict]:
    sockets = [one for table in ("tcp", "tcp6") for one in parse(host.text(f"/proc/net/{table}"))]
    found = [(port, [one for one in sockets if one["port"] == port["port"] and collides(port["address"], one["address"])]) for port in ports]
    owners = _owners(host, {one["inode"] for _port, hits in found for one in hits})
    return [dict(port, listeners=[_describe(host, one, owners.get(one["inode"])) for one in hits]) for port, hits in found]


def _describe(host: Host, one: dict, pid: int | None) -> dict:
    try:
        user = pwd.getpwuid(one["uid"]).pw_name
    except KeyError:
        user = str(one["uid"])
    return {
        "address": one["address"],
        "user": user,
        "pid": pid or 0,
        "unit": unit_of(host.text(f"/proc/{pid}/cgroup")) if pid else "",
        "process": _program(host, pid) if pid else "",  # last: one that has a name still is the one whose unit was read
    }


def _program(host: Host, pid: int) -> str:
    """The name of a process; one that NemoClaw left behind is called by what it is, not by its interpreter."""
    return STALE_PROXY if "ollama-auth-proxy" in host.text(f"/proc/{pid}/cmdline") else host.text(f"/proc/{pid}/comm")


def _owners(host: Host, inodes: set[int]) -> dict[int, int]:
    """The process that holds each socket; without root only the own ones are seen."""
    owners: dict[int, int] = {}
    for process in os.listdir(host.path("/proc")) if inodes else ():
        if not process.isdigit() or len(owners) == len(inodes):
            continue
        held = {int(link[8:-1]) for link in _descriptors(host, process) if link.startswith("socket:[")} & inodes
        owners.update({inode: int(process) for inode in held if inode not in owners})
    return owners


def _descriptors(host: Host, process: str) -> t.Iterator[str]:
    """What a process has open; a busy one closes some while they are read, which must not hide the others."""
    with contextlib.suppress(OSError), os.scandir(host.path(f"/proc/{process}/fd")) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                yield os.readlink(entry.path)
