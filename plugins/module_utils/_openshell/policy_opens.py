# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one policy opens that another does not: which program may send which request where. Pure; private to the collection, for hosts and controller."""

from __future__ import annotations

import itertools
import typing as t

PROVIDER_RULES = "_provider_"  # rules that the gateway composes from attached providers; no part of anybody's policy
NOT_INSPECTED = "anything, not inspected"
PRESETS = {
    "read-only": ("GET", "HEAD", "OPTIONS"),
    "read-write": ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"),
    "full": ("*",),
}
OTHER_PRESETS = {
    "websocket": {"read-only": ("GET",), "read-write": ("GET", "WEBSOCKET_TEXT"), "full": ("*",)},
    "graphql": {"read-only": ("query",), "read-write": ("query", "mutation"), "full": ("*",)},
}


class Opening(t.NamedTuple):
    """C(endpoint) is host:port with what limits it; C(method) and C(path) of the request, C(path) empty where it has none; C(binary) a path or glob."""

    endpoint: str
    method: str
    path: str
    binary: str

    def as_dict(self) -> dict[str, str]:
        return dict(self._asdict())


def openings(policy: dict[str, t.Any]) -> set[Opening]:
    """Everything that a policy opens."""
    return {
        Opening(place, *request, binary["path"] if isinstance(binary, dict) else binary)
        for key, rule in (policy.get("network_policies") or {}).items()
        if not key.startswith(PROVIDER_RULES)
        for endpoint in rule.get("endpoints") or []
        for place in _places(endpoint)
        for request in _requests(endpoint)
        for binary in rule.get("binaries") or []
    }


def lines(opened: t.Iterable[Opening]) -> list[str]:
    """For people: C(host:port GET /path, POST /path by /a/program, /another), one line an endpoint and set of programs."""
    programs: dict[tuple[str, str], list[str]] = {}
    for one in opened:
        programs.setdefault((one.endpoint, f"{one.method} {one.path}".rstrip()), []).append(one.binary)
    requests: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (endpoint, request), binaries in programs.items():
        requests.setdefault((endpoint, tuple(binaries)), []).append(request)
    return [f"{endpoint} {', '.join(several)} by {', '.join(binaries)}" for (endpoint, binaries), several in requests.items()]


def _places(endpoint: dict[str, t.Any]) -> t.Iterator[str]:
    limits = [str(endpoint["path"])] if endpoint.get("path") else []
    limits += [f"at {', '.join(endpoint['allowed_ips'])}"] if endpoint.get("allowed_ips") else []
    for port in endpoint.get("ports") or [endpoint.get("port") or "any port"]:
        yield " ".join([f"{endpoint.get('host') or 'any host'}:{port}", *(f"({limit})" for limit in limits)])


def _requests(endpoint: dict[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    protocol = endpoint.get("protocol") or ""
    if not protocol:
        yield NOT_INSPECTED, ""
        return
    if endpoint.get("enforcement") != "enforce":
        yield "anything, only logged", ""
        return
    denied = "; ".join(" ".join(_said(rule)).rstrip() for rule in endpoint.get("deny_rules") or [])
    but = f" but {denied}" if denied else ""
    methods = OTHER_PRESETS.get(protocol, PRESETS).get(endpoint.get("access") or "", ())
    rules = [_said(rule.get("allow") or {}) for rule in endpoint.get("rules") or []]
    if not rules and not methods:
        rules = [("*", "")]  # every method that the protocol knows
    for method, path in itertools.chain(((method, "/**") for method in methods), rules):
        yield method, f"{path}{but}".strip()


def _said(rule: dict[str, t.Any]) -> tuple[str, str]:
    """(method, what it is of) of an allowed or denied kind of request, whatever its protocol."""
    method = rule.get("method") or rule.get("operation_type") or rule.get("command") or "*"
    rest = [f"{key} {value}" for key, value in sorted(rule.items()) if value and key not in ("method", "path", "operation_type", "command")]
    return str(method), " ".join([rule.get("path") or "", *rest]).strip()
