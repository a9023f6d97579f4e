# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, proxies, packet sizes and the firewall. Private to the collection."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import result

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import Facts, Results

RESOLVED = ("NXDOMAIN", "NOERROR")


def dns(facts: Facts, limits: Facts) -> Results:
    return _resolves("dns", facts["dns"]["servers"], facts["dns"]["answers"], "Name servers that answer in /etc/resolv.conf ('resolvectl dns' shows them)")


def dns_container(facts: Facts, limits: Facts) -> Results:
    """Judged by what a container would be given; none is started."""
    found = facts["dns"]
    results = _resolves("dns_container", found["container"], found["answers"], 'Name servers that answer as "dns" in /etc/docker/daemon.json')
    given, public = ", ".join(found["default_bridge"]), not set(found["default_bridge"]) & {*found["servers"], *found["container"]}
    if results[0]["ok"] and public:
        detail = f"the host's resolvers are on its loopback, so Docker gives {given} to containers on its default bridge"
        remedy = 'Matters to "docker build" and "docker run" only: name servers beyond the loopback as "dns" in /etc/docker/daemon.json.'
        return result("dns_container", False, "info", detail, remedy)
    return results


def _resolves(name: str, servers: list[str], answers: dict[str, str], wanted: str) -> Results:
    """One server that resolves is enough."""
    said = ", ".join(f"{server}: {answers.get(server) or 'no answer'}" for server in servers) or "no name server"
    return result(name, any(answers.get(server) in RESOLVED for server in servers), "warning", said, f"{wanted}; where all is reached by address, go on.")


def proxy(facts: Facts, limits: Facts) -> Results:
    """With a proxy, what is near must be excepted, or requests to the gateway and to local models go to the proxy."""
    found = facts["proxy"]
    used = found["https_proxy"] or found["http_proxy"]
    if not used:
        return result("proxy", True, "warning", "no proxy")
    missing = [name for name in limits["no_proxy"] if not excepted(name, found["no_proxy"])]
    detail = f"{used}, no_proxy={found['no_proxy']}" + (f" lacks {', '.join(missing)}" if missing else "")
    return result("proxy", not missing, "warning", detail, f"Add {','.join(missing)} to no_proxy in /etc/environment.")


def excepted(wanted: str, no_proxy: str) -> bool:
    """Whether a host or a network is in a no_proxy: by name, by domain, by address or network, by *."""
    for entry in filter(None, re.split(r"[,\s]+", no_proxy)):
        name = entry.lstrip("*").lstrip(".")
        if entry == "*" or wanted == name or wanted.endswith(f".{name}"):
            return True
        try:
            network, found = ipaddress.ip_network(wanted, strict=False), ipaddress.ip_network(entry, strict=False)
        except ValueError:
            continue
        if network.version == found.version and network.subnet_of(found):
            return True
    return False


def docker_proxy(facts: Facts, limits: Facts) -> Results:
    """The engine has settings of its own: it pulls nothing where only the sessions know the proxy."""
    docker, host = facts["docker"], facts["proxy"]["https_proxy"] or facts["proxy"]["http_proxy"]
    if not docker["running"]:
        return []
    engine = docker["https_proxy"] or docker["http_proxy"]
    detail = engine or (f"the host uses {host}, the engine none" if host else "no proxy")
    remedy = 'Set "proxies" in /etc/docker/daemon.json (Docker 23 or newer) and restart docker, where images are pulled.'
    return result("docker_proxy", bool(engine) or not host, "warning", detail, remedy)


def mtu(facts: Facts, limits: Facts) -> Results:
    """Large packets of a container get lost where its network takes larger ones than the way out."""
    sizes, uplink = facts["networks"]["mtu"], facts["networks"]["uplink"]
    most = sizes.get(uplink)
    if not most or not facts["docker"]["running"]:
        return []
    bridges = {name: one["mtu"] for name, one in facts["docker"]["networks"].items() if one["mtu"]}
    large = {name: size for name, size in bridges.items() if size > most}
    larger = ", ".join(f"{name} {size}" for name, size in large.items())
    return result(
        "mtu",
        not large,
        "warning",
        f"{uplink} {most}, larger networks: {larger or 'none'}",
        f'Set {{"mtu": {most}}} in /etc/docker/daemon.json, restart docker, and make these networks anew.',
    )


def firewall(facts: Facts, limits: Facts) -> Results:
    """Sandboxes talk to the gateway, and to model servers of the host, by the host's address on their network."""
    found, wanted = facts["firewall"], limits["network"]
    blocked = [one for one in found["ports"] if one["verdict"] == "drop"]
    if not found["ports"]:
        return []
    if not found["readable"] and not blocked:
        return result("firewall", True, "error", "not looked at: root only, or neither nft nor iptables is there")
    manager = found["manager"] or "the firewall"
    if not blocked:
        return result("firewall", True, "error", f"{manager} lets {wanted['subnet']} through to {wanted['address']}")
    ports = ", ".join(str(one["port"]) for one in blocked)
    detail = f"{manager} (chain {blocked[0]['chain']}) drops what sandboxes ({wanted['subnet']}) send to port {ports} of {wanted['address']}"
    remedy = f"Set nemoclaw_preflight_repair: [firewall], or run {_rule(found['manager'], wanted, blocked[0])}."
    return result("firewall", False, "error", detail, remedy)


def _rule(manager: str, wanted: Facts, blocked: Facts) -> str:
    source, address, port, table, base = wanted["subnet"], wanted["address"], blocked["port"], blocked["table"], blocked["base"]
    if manager == "ufw":
        return f"'ufw allow in proto tcp from {source} to {address} port {port}'"
    if manager == "firewalld":
        rule = f"rule family=ipv4 source address={source} destination address={address} port port={port} protocol=tcp accept"
        return f"""'firewall-cmd --permanent --add-rich-rule="{rule}"' and 'firewall-cmd --reload'"""
    if table.startswith("iptables"):
        return f"'{table} -I {base} -p tcp -s {source} -d {address} --dport {port} -j ACCEPT'"
    return f"'nft insert rule {table} {base} ip saddr {source} ip daddr {address} tcp dport {port} accept'"
