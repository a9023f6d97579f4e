# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which requests a policy lets through: by host, port, binary, method and path. Pure functions on the policy's canonical form."""

from __future__ import annotations

import functools
import ipaddress
import re

METHODS = {"read-only": ("GET", "HEAD", "OPTIONS"), "read-write": ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"), "full": ("*",)}


@functools.lru_cache(maxsize=512)
def _pattern(glob, delimiter):
    out, i, not_delimiter = "", 0, f"[^{re.escape(delimiter)}]"
    while i < len(glob):
        if glob.startswith("**", i):
            out, i = out + ".*", i + 2
            continue
        char = glob[i]
        if char == "*":
            out += not_delimiter + "*"
        elif char == "?":
            out += not_delimiter
        elif char == "{" and "}" in glob[i:]:
            end = glob.index("}", i)
            out += "(?:" + "|".join(re.escape(choice) for choice in glob[i + 1 : end].split(",")) + ")"
            i = end
        else:
            out += re.escape(char)
        i += 1
    return re.compile(out, re.DOTALL)


def matches(glob, text, delimiter):
    return _pattern(glob, delimiter).fullmatch(text) is not None


def ports(endpoint):
    return endpoint.get("ports") or [endpoint.get("port", 0)]


def host_matches(pattern, host):
    pattern, host = pattern.lower(), host.lower()
    return matches(pattern, host, ".") if "*" in pattern else pattern == host


def binary_matches(rule, programs):
    """`programs`: the resolved path of the program that asks, then those of its ancestors."""
    return any(
        matches(binary["path"], program, "/") if "*" in binary["path"] else binary["path"] == program
        for binary in rule.get("binaries", ())
        for program in programs
    )


def endpoints_for(policy, host, port, programs):
    """[(rule name, endpoint)] that admit a connection of these programs to host:port, in the order of rule names."""
    return [
        (name, endpoint)
        for name, rule in sorted(policy.get("network_policies", {}).items())
        if binary_matches(rule, programs)
        for endpoint in rule.get("endpoints", ())
        if port in ports(endpoint) and (host_matches(endpoint["host"], host) if endpoint.get("host") else endpoint.get("allowed_ips"))
    ]


def connection_denied(policy, host, port, programs):
    """Why no rule admits these programs to host:port, in the words of the log."""
    anyone = {name: {**rule, "binaries": [{"path": "**"}]} for name, rule in policy.get("network_policies", {}).items()}
    others = endpoints_for({"network_policies": anyone}, host, port, ["any"])
    if not others or not programs:
        return f"endpoint {host}:{port} is not allowed by any policy"
    ancestors = " -> ".join(programs[1:])
    return f"binary '{programs[0]}' not allowed in policy '{others[0][0]}' (ancestors: [{ancestors}], cmdline: []). SYMLINK HINT: the binary path is the ..."


def method_matches(actual, expected):
    return expected == "*" or actual.upper() == expected.upper() or (actual.upper() == "HEAD" and expected.upper() == "GET")


def path_matches(glob, path):
    return glob in ("**", "") or matches(glob, path, "/")


def _rule_matches(rule, method, path):
    return method_matches(method, rule.get("method") or "*") and path_matches(rule.get("path", "**"), path)


def _inspected(endpoints, path):
    return [endpoint for endpoint in endpoints if endpoint.get("protocol") and path_matches(endpoint.get("path", "**"), path)]


def path_covered(endpoints, path):
    """Is the path within one of the inspected endpoints' own paths? True where nothing is inspected."""
    return bool(_inspected(endpoints, path)) or not any(endpoint.get("protocol") for endpoint in endpoints)


def request_denied(endpoints, method, path):
    """Why the endpoints with an inspected protocol refuse this request, in the real program's words; None when they let it through."""
    inspected = _inspected(endpoints, path)
    if not inspected and not any(endpoint.get("protocol") for endpoint in endpoints):
        return None
    for endpoint in inspected:
        if any(_rule_matches(rule, method, path) for rule in endpoint.get("deny_rules", ())):
            return f"{method} {path} blocked by deny rule"
    for endpoint in inspected:
        rules = [rule["allow"] for rule in endpoint.get("rules", ())]
        rules += [{"method": name, "path": "**"} for name in METHODS.get(endpoint.get("access"), ())]
        if any(_rule_matches(rule, method, path) for rule in rules):
            return None
    return f"{method} {path} not permitted by policy"


def enforced(endpoints):
    return any(endpoint.get("enforcement") == "enforce" for endpoint in endpoints if endpoint.get("protocol"))


def address_denied(endpoints, host, addresses):
    """Why the host's addresses (none where it has none) may not be connected to, in the real program's words; None when they may.

    Exact host names may resolve to private addresses; wildcards need `allowed_ips`. Loopback and link-local addresses never pass.
    """
    parsed = [ipaddress.ip_address(address) for address in addresses]
    never = not parsed or any(address.is_loopback or address.is_link_local or address.is_unspecified for address in parsed)
    allowed = [ipaddress.ip_network(text, strict=False) for endpoint in endpoints for text in endpoint.get("allowed_ips", ())]
    if allowed:
        within = all(any(address in network for network in allowed) for address in parsed)
        return "allowed_ips check failed" if never or not within else None
    if any(endpoint.get("host", "").lower() == host.lower() for endpoint in endpoints):
        return "declared endpoint check failed" if never else None
    return "internal address" if never or any(address.is_private for address in parsed) else None
