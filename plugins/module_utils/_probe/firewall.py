# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the host's firewall lets a sandbox through to a port of the host: a new TCP packet is followed through the rules. Private to the collection.

Rules of iptables (ufw's too) are read from iptables-save, all others (firewalld's too) from C(nft -j). A rule with a condition that is not known here
is passed over, so that a fault is only reported where it is certain.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host, Outcome

ACCEPT, DROP, RETURN = "accept", "drop", "return"
TARGETS = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN}
DEPTH = 32  # chains within chains; the kernel's own limit is 16


class Packet(t.NamedTuple):
    """A new connection from a sandbox: C(source) is the whole subnet; C(interface) is empty where the network is not there yet."""

    source: str
    destination: str
    port: int
    interface: str = ""


class Rule(t.NamedTuple):
    """C(matches) is false too where a condition is not understood; C(target) is a verdict or a chain, C(final) whether a chain does not return here."""

    matches: bool
    target: str
    final: bool = False


class Chain(t.NamedTuple):
    """C(policy) only of a base chain of the input hook."""

    policy: str
    rules: list[Rule]


def commands(host: Host) -> dict[str, list[str]]:
    """What shows the rules; root only."""
    found = {"iptables": ["iptables-save", "-t", "filter"], "nft": ["nft", "-j", "list", "ruleset"]}
    if "filter" in host.text("/proc/net/ip_tables_names").split():
        found["iptables-legacy"] = ["iptables-legacy-save", "-t", "filter"]
    paths = {name: host.which(words[0]) for name, words in found.items()}
    return {name: [paths[name], *words[1:]] for name, words in found.items() if paths[name]}


def read(host: Host, packets: list[Packet], outcomes: dict[str, Outcome], units: dict[str, dict[str, str]]) -> dict:
    """C({manager, readable, ports}): who administers the firewall, and what C(judge) says of each packet."""
    active = {name: units.get(f"{name}.service", {}).get("ActiveState") == "active" for name in ("firewalld", "nftables")}
    if active["firewalld"]:
        manager = "firewalld"
    elif "ENABLED=yes" in host.text("/etc/ufw/ufw.conf"):
        manager = "ufw"
    else:
        manager = "nftables" if active["nftables"] else ""
    shown = {name: outcome for name, outcome in outcomes.items() if name in ("iptables", "iptables-legacy", "nft")}
    if manager == "firewalld":  # the engine puts a new network into the zone of its others
        packets = [packet._replace(interface=packet.interface or "docker0") for packet in packets]
    readable = bool(shown) and all(outcome.rc == 0 for outcome in shown.values())
    return {"manager": manager, "readable": readable, "ports": [judge(shown, packet) for packet in packets]}


def judge(outcomes: dict[str, Outcome], packet: Packet) -> dict:
    """C({port, verdict, chain, table, base}): every base chain must let it through; C(chain) is where it ends, C(base) the chain that led there. Pure."""
    tables = {}
    for name in ("iptables", "iptables-legacy"):
        if name in outcomes and outcomes[name].rc == 0:
            tables[name] = iptables_chains(outcomes[name].stdout, packet)
    if "nft" in outcomes and outcomes["nft"].rc == 0:
        tables.update(nft_tables(outcomes["nft"].stdout, packet, skip_iptables=bool(tables)))
    for table, chains in tables.items():
        for base, chain in chains.items():
            ended = (_walk(chains, base, 0) or (base if chain.policy == DROP else ACCEPT)) if chain.policy else ACCEPT
            if ended != ACCEPT:
                return {"port": packet.port, "verdict": DROP, "chain": ended, "table": table, "base": base}
    return {"port": packet.port, "verdict": ACCEPT, "chain": "", "table": "", "base": ""}


def _walk(chains: dict[str, Chain], name: str, depth: int) -> str:
    """C(accept), the name of the chain that drops, or an empty string when the chain is left without a verdict."""
    for rule in chains[name].rules if name in chains and depth < DEPTH else ():
        if not rule.matches:
            continue
        if rule.target == ACCEPT:
            return ACCEPT
        if rule.target == DROP:
            return name
        if rule.target == RETURN:
            return ""
        found = _walk(chains, rule.target, depth + 1)
        if found or rule.final:
            return found
    return ""


def _holds(networks: t.Iterable[str], address: str) -> bool:
    """Whether an address, or all of a network, is in one of the networks."""
    wanted = ipaddress.ip_network(address)
    for text in networks:
        found = ipaddress.ip_network(text, strict=False)
        if found.version == wanted.version and found.supernet_of(wanted):
            return True
    return False


def iptables_chains(text: str, packet: Packet) -> dict[str, Chain]:
    """The chains of an iptables-save of the table filter."""
    chains: dict[str, Chain] = {}
    for line in text.splitlines():
        if line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains[name] = Chain(TARGETS.get(policy, "") if name == "INPUT" else "", [])
        elif line.startswith("-A "):
            words = shlex.split(line)
            chains.setdefault(words[1], Chain("", [])).rules.append(_iptables_rule(words[2:], packet))
    return chains


def _iptables_rule(words: list[str], packet: Packet) -> Rule:
    tests: dict[str, t.Callable[[str], bool]] = {
        "-s": lambda value: _holds([value], packet.source),
        "-d": lambda value: _holds([value], packet.destination),
        "-i": lambda value: _interface(value, packet.interface, "+"),
        "-p": lambda value: value in ("tcp", "all"),
        "--dport": lambda value: _in_range(value, packet.port),
        "--dports": lambda value: any(_in_range(one, packet.port) for one in value.split(",")),
        "--ctstate": lambda value: "NEW" in value.split(","),
        "--state": lambda value: "NEW" in value.split(","),
        "--dst-type": lambda value: value == "LOCAL",
        "-m": lambda value: True,
        "--comment": lambda value: True,
        "--reject-with": lambda value: True,
        "--limit": lambda value: True,
        "--limit-burst": lambda value: True,
    }
    matches, target, final, negated, index = True, "", False, False, 0
    while index < len(words):
        word, value = words[index], words[index + 1] if index + 1 < len(words) else ""
        if word == "!":
            negated, index = True, index + 1
            continue
        if word in ("-j", "-g"):
            target, final = TARGETS.get(value, value), word == "-g"
        elif word in tests:
            matches = matches and tests[word](value) is not negated
        elif not target:  # what follows a target is its own options
            matches = False
        negated, index = False, index + 2
    return Rule(matches, target, final)


def _interface(pattern: str, name: str, wildcard: str) -> bool:
    """A network that is not there yet gets an interface that no rule names, but for a pattern such as br-+."""
    if pattern.endswith(wildcard):
        return (name or "br-").startswith(pattern[:-1])
    return bool(name) and pattern == name


def _in_range(text: str, port: int) -> bool:
    low, _colon, high = text.partition(":")
    return int(low) <= port <= int(high or low) if low.isdigit() and (high or low).isdigit() else False


def nft_tables(text: str, packet: Packet, skip_iptables: bool) -> dict[str, dict[str, Chain]]:
    """The chains of every table that sees IPv4; C(skip_iptables) leaves out those that iptables-save has shown."""
    try:
        entries = json.loads(text or "{}").get("nftables", [])
    except ValueError:
        return {}
    sets = {(one["family"], one["table"], one["name"]): one.get("elem", []) for entry in entries if (one := entry.get("set"))}
    tables: dict[tuple[str, str], dict[str, Chain]] = {}
    for one in (entry["chain"] for entry in entries if "chain" in entry):
        policy = one.get("policy", ACCEPT) if one.get("hook") == "input" and one.get("type") == "filter" else ""
        tables.setdefault((one["family"], one["table"]), {})[one["name"]] = Chain(policy, [])
    for one in (entry["rule"] for entry in entries if "rule" in entry):
        known = {name: elements for (family, table, name), elements in sets.items() if (family, table) == (one["family"], one["table"])}
        tables[one["family"], one["table"]][one["chain"]].rules.append(_nft_rule(one.get("expr", []), packet, known))
    shown = {("ip", "filter")} if skip_iptables else set()
    return {f"{family} {table}": chains for (family, table), chains in tables.items() if family in ("ip", "inet") and (family, table) not in shown}


def _nft_rule(expressions: list[dict], packet: Packet, sets: dict[str, list]) -> Rule:
    matches, target, final = True, "", False
    for expression in expressions:
        kind, value = next(iter(expression.items()))
        if kind == "match":
            matches = matches and _nft_match(value, packet, sets)
        elif kind in (ACCEPT, DROP, RETURN):
            target = kind
        elif kind == "reject":
            target = DROP
        elif kind in ("jump", "goto"):
            target, final = value["target"], kind == "goto"
        elif kind not in ("counter", "comment", "log", "limit", "mangle"):
            matches = False
    return Rule(matches, target, final)


def _nft_match(match: dict, packet: Packet, sets: dict[str, list]) -> bool:
    left, right = match["left"], match["right"]
    name = next(((one.get("protocol", ""), one.get("field") or one.get("key")) for one in (left.get("payload"), left.get("meta"), left.get("ct")) if one), None)
    if isinstance(right, str) and right.startswith("@"):
        right = {"set": sets.get(right[1:], [])}
    values = right["set"] if isinstance(right, dict) and "set" in right else right if isinstance(right, list) else [right]
    tests: dict[t.Any, t.Callable[[t.Any], bool]] = {
        ("ip", "saddr"): lambda value: _nft_holds(value, packet.source),
        ("ip", "daddr"): lambda value: _nft_holds(value, packet.destination),
        ("tcp", "dport"): lambda value: _nft_port(value, packet.port),
        ("th", "dport"): lambda value: _nft_port(value, packet.port),
        ("", "iifname"): lambda value: _interface(str(value), packet.interface, "*"),
        ("", "iif"): lambda value: _interface(str(value), packet.interface, "*"),
        ("", "l4proto"): lambda value: value in ("tcp", 6),
        ("ip", "protocol"): lambda value: value in ("tcp", 6),
        ("", "nfproto"): lambda value: value == "ipv4",
        ("", "state"): lambda value: value == "new",
    }
    if name not in tests or match.get("op") not in ("==", "in", "!="):
        return False
    return any(tests[name](value) for value in values) is not (match["op"] == "!=")


def _nft_holds(value: t.Any, address: str) -> bool:
    if isinstance(value, dict) and "prefix" in value:
        value = f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, dict) and "range" in value:
        wanted = ipaddress.ip_network(address)
        low, high = (ipaddress.ip_address(one) for one in value["range"])
        return low <= wanted[0] and wanted[-1] <= high
    try:
        return isinstance(value, str) and _holds([value], address)
    except ValueError:
        return False


def _nft_port(value: t.Any, port: int) -> bool:
    if isinstance(value, dict) and "range" in value:
        low, high = value["range"]
        return low <= port <= high
    return value == port
