# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether names are resolved: one question to each server, of a name that cannot exist, whose C(NXDOMAIN) proves the whole way. Private to the collection."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import select
import socket
import struct
import time

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

ANSWERS = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}
STUBS = ("127.0.0.53", "127.0.0.54")  # systemd-resolved answers for .invalid by itself, so those behind it are asked
PUBLIC = ("8.8.8.8", "8.8.4.4")  # what Docker puts in the place of resolvers on the loopback
PORT = 53


def read(host: Host, container_servers: list[str], timeout: float = 1.2) -> dict:
    """C({servers, answers, container, default_bridge}).

    C(container) are the servers behind the engine's own resolver, which containers on a named network ask; it asks in the host's name, so loopback ones
    serve as well. Containers on the default bridge ask C(default_bridge) directly. C(container_servers) are those of daemon.json.
    """
    servers = nameservers(host.text("/etc/resolv.conf"))
    if servers and set(servers) <= set(STUBS):
        servers = nameservers(host.text("/run/systemd/resolve/resolv.conf")) or servers
    reachable = [server for server in servers if not ipaddress.ip_address(server).is_loopback]
    return {
        "servers": servers,
        "answers": ask(sorted({*servers, *container_servers}), timeout),
        "container": container_servers or servers,
        "default_bridge": container_servers or reachable or list(PUBLIC),
    }


def nameservers(text: str) -> list[str]:
    """The servers of a resolv.conf that the C library asks: the first three."""
    found = []
    for word in re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE):
        with contextlib.suppress(ValueError):
            found.append(str(ipaddress.ip_address(word.partition("%")[0])))
    return found[:3]


def question(name: str, number: int) -> bytes:
    """A DNS query for the address of a name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)


def answer(packet: bytes, number: int) -> str:
    """The name of the answer's code; an empty string when it answers another question."""
    if len(packet) < 12:
        return ""
    found, flags = struct.unpack(">2H", packet[:4])
    code = flags & 0xF
    return ANSWERS.get(code, f"code {code}") if found == number and flags & 0x8000 else ""


def ask(servers: list[str], timeout: float) -> dict[str, str]:
    """What each server answers, all asked at once and once again after a third of the time; an empty string for no answer."""
    answers = dict.fromkeys(servers, "")
    name = f"nemoclaw-{os.urandom(8).hex()}.invalid"
    number = int.from_bytes(os.urandom(2), "big")
    with contextlib.ExitStack() as stack:
        pending = {}
        for server in servers:
            with contextlib.suppress(OSError):
                one = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM))
                one.setblocking(False)
                one.connect((server, PORT))
                pending[one] = server
        deadline = time.monotonic() + timeout
        for until in (deadline - timeout * 2 / 3, deadline):
            for one in pending:
                with contextlib.suppress(OSError):
                    one.send(question(name, number))
            while pending and time.monotonic() < until:
                for one in select.select(list(pending), [], [], max(0, until - time.monotonic()))[0]:
                    try:
                        found = answer(one.recv(4096), number)
                    except OSError as exc:  # an ICMP error: nobody listens there
                        found = exc.strerror or "error"
                    if found:
                        answers[pending.pop(one)] = found
    return answers
