# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a preset's data becomes in a policy: its rules for an agent, with real paths and hosts. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.endpoints import address_of

Rules = dict[str, dict[str, t.Any]]
READING = ("GET", "HEAD")


def for_agent(preset: dict[str, t.Any], agent: str) -> Rules | None:
    """The preset's rules for an agent as its data has them; None where it is not for that agent."""
    if agent not in preset.get("agents", [agent]):
        return None
    return preset["variants"].get(agent) if "variants" in preset else preset["network_policies"]


def package_sources(rules: Rules) -> set[str]:
    """The names of package hosts that the rules need."""
    return {endpoint["package_hosts"] for rule in rules.values() for endpoint in rule["endpoints"] if "package_hosts" in endpoint}


def expanded(rules: Rules, programs: dict[str, list[str]], hosts: dict[str, list[str]]) -> Rules:
    """Rules in OpenShell's schema: names of programs as paths, C(package_hosts) as one endpoint a host. Other binaries and endpoints stay as they are."""
    return {
        key: {
            **rule,
            "name": key,
            "endpoints": [made for endpoint in rule["endpoints"] for made in _endpoints(endpoint, hosts)],
            "binaries": _binaries(rule["binaries"], programs),
        }
        for key, rule in rules.items()
    }


def _binaries(given: list[t.Any], programs: dict[str, list[str]]) -> list[t.Any]:
    found: list[t.Any] = []
    for binary in given:
        made = [{"path": path} for path in programs.get(binary, [binary])] if isinstance(binary, str) else [binary]
        found += [one for one in made if one not in found]
    return found


def _endpoints(endpoint: dict[str, t.Any], hosts: dict[str, list[str]]) -> t.Iterator[dict[str, t.Any]]:
    if "package_hosts" not in endpoint:
        yield endpoint
        return
    rest = {key: value for key, value in endpoint.items() if key != "package_hosts"}
    for entry in hosts.get(endpoint["package_hosts"], []):
        host, _colon, port = entry.partition(":")
        address = address_of(host)
        yield {"host": host, "port": int(port or 443), **rest, **({"allowed_ips": [host]} if address and address.is_private else {})}


def read_only(rules: Rules) -> Rules:
    """What of the rules only reads: GET and HEAD. An endpoint that was not inspected is from here on; one that cannot read is left out."""
    kept: Rules = {}
    for key, rule in rules.items():
        endpoints = [found for endpoint in rule["endpoints"] if (found := _reading(endpoint))]
        if endpoints:
            kept[key] = {**rule, "endpoints": endpoints}
    return kept


def _reading(endpoint: dict[str, t.Any]) -> dict[str, t.Any] | None:
    rest = {key: value for key, value in endpoint.items() if key not in ("access", "rules", "tls")}
    if endpoint.get("protocol", "rest") not in ("rest", "websocket"):
        return None
    if endpoint.get("rules"):
        rules = [rule for rule in endpoint["rules"] if rule["allow"].get("method", "").upper() in READING]
    else:
        rules = [{"allow": {"method": method, "path": "/**"}} for method in READING]
    return {**rest, "protocol": "rest", "enforcement": "enforce", "rules": rules} if rules else None
