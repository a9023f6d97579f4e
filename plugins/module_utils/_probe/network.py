# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, routes, packet sizes and proxy settings of a host. Private to the collection."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import socket
import struct

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.engine import mask_url
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

SIOCGIFADDR = 0x8915
PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def read(host: Host) -> dict:
    """The C(networks) facts, see RETURN of host_probe."""
    table = host.text("/proc/net/route")
    sizes = {path.split("/")[4]: host.text(path) for path in host.glob("/sys/class/net/*/mtu")}
    return {
        "routes": routes(table),
        "addresses": addresses(),
        "local": local(host.text("/proc/net/fib_trie")),
        "uplink": uplink(table),
        "mtu": {name: int(size) for name, size in sizes.items() if size.isdigit()},
    }


def _rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()[1:] if len(line.split()) > 7]


def routes(table: str) -> list[str]:
    """The IPv4 networks this host has a route to, but for the default route: a chosen subnet must not overlap them."""
    found = set()
    for cells in _rows(table):
        destination, mask = (socket.inet_ntoa(struct.pack("=I", int(cells[index], 16))) for index in (1, 7))
        found.add(ipaddress.ip_network(f"{destination}/{mask}"))
    return [str(network) for network in sorted(found) if network.prefixlen]


def uplink(table: str) -> str:
    """The interface of the default route that is used, an empty string when there is none."""
    defaults = [(int(cells[6]), cells[0]) for cells in _rows(table) if cells[1] == "00000000" and cells[7] == "00000000"]
    return min(defaults)[1] if defaults else ""


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


def local(trie: str) -> list[str]:
    """Every IPv4 address of this host, but for those of the loopback."""
    found = {ipaddress.ip_address(address) for address in re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", trie)}
    return [str(address) for address in sorted(found) if not address.is_loopback]


def proxies(host: Host) -> dict[str, str]:
    """The proxy settings of this session, else of every session; passwords masked."""
    everywhere = {name.lower(): value for name, value in re.findall(r"^\s*(?:export\s+)?(\w+)=[\"']?([^\"'\n]*)", host.text("/etc/environment"), re.MULTILINE)}
    return {name: mask_url(os.environ.get(name) or os.environ.get(name.upper()) or everywhere.get(name, "")) for name in PROXIES}
