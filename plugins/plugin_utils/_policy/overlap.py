# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints of two rules that match the same requests but say different things about the connection: OpenShell stores such a policy and cannot load it."""

from __future__ import annotations

import functools
import itertools
import json
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.fault import Fault

# what all endpoints of one connection, and what all of one request have to agree on, with OpenShell's defaults
CONNECTION = {"tls": "auto", "allowed_ips": []}
REQUEST = {
    "protocol": "",
    "enforcement": "audit",
    "allow_encoded_slash": False,
    "websocket_credential_rewrite": False,
    "request_body_credential_rewrite": False,
    "credential_signing": "",
    "signing_service": "",
    "signing_region": "",
    "credential_binding": {},
    "graphql_max_body_bytes": 65536,
    "json_rpc": {},
    "mcp": {},
}


def overlap_faults(rules: dict[str, t.Any]) -> t.Iterator[Fault]:
    places = [(("network_policies", key, "endpoints", index), endpoint) for key, rule in rules.items() for index, endpoint in enumerate(rule["endpoints"])]
    for (place, one), (other_place, other) in itertools.combinations(places, 2):
        shared = sorted(ports(one) & ports(other))
        if not shared or not _meet(one.get("host", "").lower(), other.get("host", "").lower(), "."):
            continue
        keys = [key for key, default in CONNECTION.items() if _value(one, key, default) != _value(other, key, default)]
        if _inspected(one) and _inspected(other) and _same_requests(one.get("path", ""), other.get("path", "")):
            keys += [key for key, default in REQUEST.items() if _value(one, key, default) != _value(other, key, default)]
        if keys:
            said = ", ".join(f"{key} ({json.dumps(one.get(key))} and {json.dumps(other.get(key))})" for key in keys)
            yield Fault(
                other_place,
                f"{other.get('host')} overlaps with {one.get('host')} of the rule {place[1]} on port {', '.join(map(str, shared))}, and they differ in {said}: "
                "network endpoint ambiguity validation failed",
                f"Give both the same {', '.join(keys)}, or take one of the rules {place[1]} and {other_place[1]} out.",
            )


def ports(endpoint: dict[str, t.Any]) -> set[int]:
    return set(endpoint.get("ports") or ([endpoint["port"]] if endpoint.get("port") else []))


def _value(endpoint: dict[str, t.Any], key: str, default: t.Any) -> t.Any:
    value = endpoint.get(key) or default
    return sorted(value) if isinstance(value, list) else value


def _inspected(endpoint: dict[str, t.Any]) -> bool:
    return any(endpoint.get(key) for key in ("protocol", "allowed_ips", "tls", "credential_binding"))


def _same_requests(one: str, other: str) -> bool:
    """Whether two endpoint paths compete: a more specific one wins over the other."""
    if len(one.replace("*", "")) != len(other.replace("*", "")):
        return False
    return not one or not other or {one, other} & {"**", "/**"} != set() or _meet(one, other, "/")


@functools.lru_cache(maxsize=4096)
def _meet(one: str, other: str, separator: str) -> bool:
    """Whether some text matches both globs: C(*) is anything without the separator, C(**) anything. An empty glob is no limit."""
    if not one or not other:
        return True
    if "*" not in one and "*" not in other:
        return one == other
    left, right = _tokens(one), _tokens(other)

    @functools.cache
    def meet(i: int, j: int) -> bool:
        if i == len(left) and j == len(right):
            return True
        for a, b, skipped_a in ((left[i : i + 1], right[j : j + 1], True), (right[j : j + 1], left[i : i + 1], False)):
            if a and a[0].startswith("*"):
                if meet(*((i + 1, j) if skipped_a else (i, j + 1))):
                    return True
                if b and (b[0].startswith("*") or a[0] == "**" or b[0] != separator) and meet(*((i, j + 1) if skipped_a else (i + 1, j))):
                    return True
        return i < len(left) and j < len(right) and left[i] == right[j] and meet(i + 1, j + 1)

    return meet(0, 0)


def _tokens(glob: str) -> list[str]:
    found: list[str] = []
    for character in glob:
        if character == "*" and found and found[-1] == "*":
            found[-1] = "**"
        elif character != "*" or not found or found[-1] != "**":
            found.append(character)
    return found
