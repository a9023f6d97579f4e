# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a supervisor refuses to load of a policy that the gateway has stored."""

from __future__ import annotations

PROTOCOLS = ("rest", "websocket", "graphql", "sql", "json-rpc", "mcp")
SAYS_SOMETHING = ("method", "path", "command", "operation_type", "operation_name", "tool", "params")
OPERATIONS = ("query", "mutation", "subscription", "*")


def load_fault(policy):
    """Why a supervisor would not load this policy, as its revision's error; None when it would."""
    faults = [
        f"{name}.endpoints[{index}]{'' if text.startswith('.') else ': '}{text}"
        for name, rule in policy.get("network_policies", {}).items()
        for index, endpoint in enumerate(rule.get("endpoints", ()))
        for text in endpoint_faults(endpoint)
    ]
    return "L7 policy validation failed:\n" + "\n".join(faults) if faults else None


def endpoint_faults(endpoint):
    """Faults of one endpoint's host, protocol, rules and access."""
    given, access, rules, deny = (endpoint.get(key) for key in ("protocol", "access", "rules", "deny_rules"))
    protocol = (given or "").lower()
    everything = (endpoint.get("mcp") or {}).get("allow_all_known_mcp_methods")
    path, host = endpoint.get("path"), endpoint.get("host", "")
    if path and not path.startswith("/") and path != "**":
        yield f"endpoint path must start with '/' or be '**', got '{path}'"
    if "*" in host and host.count(".") < 2:
        yield f"TLD wildcard '{host}' is not allowed; use subdomain wildcards like '*.example.com' instead"
    if protocol and protocol not in PROTOCOLS:
        yield f"unknown protocol '{given}' (expected rest, websocket, graphql, sql, json-rpc, or mcp)"
    if rules and access:
        yield "rules and access are mutually exclusive"
    if protocol == "mcp" and access:
        yield ("protocol mcp does not support access presets; use rules/deny_rules or set mcp.allow_all_known_mcp_methods: true for an allow-all MCP policy")
    if protocol == "json-rpc" and access:
        yield 'protocol json-rpc does not support access presets; use explicit rules with allow.method such as "*"'
    if protocol == "json-rpc" and not rules and not access:
        yield "protocol json-rpc requires explicit rules with allow.method"
    if protocol and protocol not in ("mcp", "json-rpc") and not rules and not access:
        yield "protocol requires rules or access to define allowed traffic"
    if protocol == "mcp" and not rules and not access and not everything:
        yield "protocol mcp requires rules when mcp.allow_all_known_mcp_methods is false"
    if rules and not any(allow(rule).get(key) for rule in rules for key in SAYS_SOMETHING) and not (protocol == "mcp" and everything):
        yield "rules would deny all traffic (no allow clause found). Use `access: full` or add allow clauses to rules."
    if deny and not protocol:
        yield "deny_rules require protocol (L7 inspection must be enabled)"
    if deny and protocol != "mcp" and not rules and not access:
        yield "deny_rules require rules or access to define the base allow set"
    mode = endpoint.get("persisted_queries")
    if mode and mode not in ("deny", "allow_registered"):
        yield f"persisted_queries must be 'deny' or 'allow_registered', got '{mode}'"
    for option in ("strict_tool_names", "allow_all_known_mcp_methods"):
        if option in (endpoint.get("mcp") or {}) and protocol != "mcp":
            yield f"mcp.{option} is only valid for protocol mcp"
    if protocol == "sql" and endpoint.get("enforcement") == "enforce":
        yield "SQL enforcement requires full SQL parsing (not available in v1). Use `enforcement: audit`."
    for index, rule in enumerate(rules or ()):
        yield from request_faults(protocol, everything, allow(rule), f".rules[{index}].allow")
    for index, rule in enumerate(deny or ()):
        yield from request_faults(protocol, everything, rule, f".deny_rules[{index}]")


def allow(rule):
    return rule.get("allow") or {}


def request_faults(protocol, everything, request, where):
    """Faults of one allowed or denied kind of request."""
    method = request.get("method", "")
    if protocol in ("rest", "websocket"):
        for name, matcher in (request.get("query") or {}).items():
            if matcher == {"any": []}:
                yield f"{where}.query.{name}: unknown matcher keys; only `glob` or `any` are supported"
    if protocol == "graphql":
        operation = request.get("operation_type")
        if not operation:
            yield f"{where}.operation_type: required for GraphQL L7 rules"
        elif operation.lower() not in OPERATIONS:
            yield f"{where}.operation_type: expected query, mutation, subscription, or *, got '{operation}'"
    if protocol == "json-rpc" and method != "*" and is_glob(method):
        yield (f'{where}.method: generic JSON-RPC method rules do not support glob or wildcard matchers; use "*" to allow all methods or an exact method name')
    if protocol == "mcp":
        if is_glob(method) and not method.startswith("tools/"):
            yield f"{where}.method: MCP method globs are only valid for the tools/ method family; omit method to use the endpoint method profile"
        if not method and not everything:
            yield f"{where}.method: required when mcp.allow_all_known_mcp_methods is false"
        elif request.get("tool") and method and method != "tools/call":
            yield f"{where}.method: must be tools/call when an MCP rule uses tool or params.name, got '{method}'"


def is_glob(text):
    return any(character in text for character in "*?[]{}")
