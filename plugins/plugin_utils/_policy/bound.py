# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The most that any policy of a fleet may open (nemoclaw_policy_max_open)."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.fault import Fault

READING = ("GET", "HEAD", "OPTIONS")
VARIABLE = "nemoclaw_policy_max_open"


def bound_faults(rules: dict[str, t.Any], bound: dict[str, bool]) -> t.Iterator[Fault]:
    """What opens more than C(bound), the completed variable."""
    for key, rule in rules.items():
        where = ("network_policies", key)
        for index, binary in enumerate(rule["binaries"]):
            if not bound["any_binary"] and set(binary["path"]) <= set("/*"):
                yield _fault((*where, "binaries", index), "any_binary", f"{binary['path']} is any program")
        for index, endpoint in enumerate(rule["endpoints"]):
            for name, said in _opened(endpoint):
                if not bound[name]:
                    yield _fault((*where, "endpoints", index), name, said)


def _fault(path: tuple[str | int, ...], name: str, said: str) -> Fault:
    return Fault(path, f"{said}, which {VARIABLE}.{name} does not allow.", f"Narrow the rule, take it out, or set {VARIABLE}: {{{name}: true}}.")


def _opened(endpoint: dict[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    host = endpoint.get("host", "")
    if "*" in host or not host:
        yield "wildcard_hosts", f"{host or 'no host'} is more than one host"
    if not endpoint.get("protocol"):
        yield "uninspected", f"requests to {host} are not inspected"
    elif endpoint.get("enforcement") != "enforce":
        yield "audit", f"requests to {host} are only logged"
    if not endpoint.get("protocol") or endpoint.get("access") in ("read-write", "full") or any(_writes(rule["allow"]) for rule in endpoint.get("rules", [])):
        yield "write_methods", f"{host} can be written to"
    if endpoint.get("allowed_ips"):
        yield "private_addresses", f"{host} may be at {', '.join(endpoint['allowed_ips'])}"


def _writes(allow: dict[str, t.Any]) -> bool:
    if allow.get("operation_type") or allow.get("command"):
        return allow.get("operation_type", "").lower() != "query" and allow.get("command", "").upper() != "SELECT"
    return allow.get("method", "").upper() not in READING
