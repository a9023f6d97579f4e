# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with one endpoint of a network rule: its host, its ports and addresses, and how its requests are allowed."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.fault import Fault, Path

METHODS = {
    "rest": ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "*"),
    "websocket": ("GET", "WEBSOCKET_TEXT", "*"),
}
OPERATIONS = ("query", "mutation", "subscription", "*")
NEVER = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/32", "::1/128", "fe80::/10", "::/128")))
INSPECTED_ONLY = ("access", "rules", "path", "enforcement", "persisted_queries", "graphql_persisted_queries", "json_rpc", "mcp")


def endpoint_faults(name: str, endpoint: dict[str, t.Any], attached: t.Collection[str]) -> t.Iterator[Fault]:
    """C(name) is the rule's, which OpenShell's messages give; C(attached) are the sandbox's providers; paths are within the endpoint."""
    yield from _host(name, endpoint)
    yield from _addresses(endpoint)
    yield from _credentials(name, endpoint, attached)
    yield from _protocol(endpoint)
    for place, request in requests(endpoint):
        for fault in _request(endpoint, place[0] == "deny_rules", request):
            yield fault._replace(path=(*place, *fault.path))


def requests(endpoint: dict[str, t.Any]) -> t.Iterator[tuple[Path, dict[str, t.Any]]]:
    """Each allowed and each denied kind of request of an endpoint, with its place in it."""
    for index, rule in enumerate(endpoint.get("rules", [])):
        yield ("rules", index, "allow"), rule["allow"]
    for index, request in enumerate(endpoint.get("deny_rules", [])):
        yield ("deny_rules", index), request


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _host(name: str, endpoint: dict[str, t.Any]) -> t.Iterator[Fault]:
    host, where = endpoint.get("host", ""), ("host",)
    if not endpoint.get("port") and not endpoint.get("ports"):
        yield Fault((), f"network policy '{name}': endpoint '{host}' must declare at least one port", "Set port, or ports.")
    if endpoint.get("port") and endpoint.get("ports"):
        yield Fault(("port",), "port and ports are mutually exclusive; use ports for multiple ports", "Take one of them out.")
    if not host:
        if not endpoint.get("allowed_ips"):
            problem = f"network policy '{name}': endpoint host must not be empty unless allowed_ips constrains a non-TCP proxy endpoint"
            yield Fault(where, problem, "Set host.")
        return
    if "*" in host:
        yield from _wildcard(name, host)
    elif any(character.isspace() or character in "/@?#" for character in host) or (":" in host and not address_of(host)):
        yield Fault(where, f"{host!r} is no host name.", "Give the name or the address alone, without scheme, port and path.")
    elif host == "localhost" or host.endswith(".localhost"):
        yield Fault(where, f"{host!r} is the sandbox itself; loopback is never allowed.", "The host that the sandbox runs on is host.openshell.internal.")


def _wildcard(name: str, host: str) -> t.Iterator[Fault]:
    first, *rest = host.split(".")
    where = ("host",)
    if host in ("*", "**") or ("**" in first and first != "**") or any("**" in label or ("*" in label and label != "*") for label in rest):
        problem = (
            f"network policy '{name}': invalid host wildcard '{host}'; middle DNS label wildcards must be the entire label '*' and recursive '**' is only "
            "allowed as the entire first label"
        )
        yield Fault(where, problem, "Name the hosts, or use a subdomain wildcard such as *.example.com.")
    elif len(rest) < 2 or (set(first) == {"*"} and set("".join(rest[:-1])) == {"*"}):
        problem = f"network policy '{name}': TLD wildcard '{host}' is not allowed; use subdomain wildcards like '*.example.com' instead"
        yield Fault(where, problem, "Name the domain.")


def _addresses(endpoint: dict[str, t.Any]) -> t.Iterator[Fault]:
    host, allowed = endpoint.get("host", ""), endpoint.get("allowed_ips", [])
    networks = []
    for index, text in enumerate(allowed):
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield Fault(("allowed_ips", index), f"{text!r} is no address and no subnet.", "Give one such as 10.20.0.0/16.")
            continue
        networks.append(network)
        if any(network.version == never.version and network.overlaps(never) for never in NEVER):
            problem = f"{text!r} holds loopback, link-local or unspecified addresses, which are always refused."
            yield Fault(("allowed_ips", index), problem, "Name the subnet that the endpoint is in.")
    address = address_of(host)
    if address is None:
        return
    if any(address.version == never.version and address in never for never in NEVER):
        yield Fault(
            ("host",), f"{host!r} is a loopback, link-local or unspecified address, which is always refused.", "Give an address that sandboxes may reach."
        )
    elif address.is_private and not allowed:
        yield Fault(("host",), f"{host!r} is a private address, and there are no allowed_ips.", f"Set allowed_ips: [{host}].")
    elif networks and not any(address in network for network in networks):
        yield Fault(("allowed_ips",), f"it does not hold {host}.", f"Set allowed_ips: [{host}].")


def _credentials(name: str, endpoint: dict[str, t.Any], attached: t.Collection[str]) -> t.Iterator[Fault]:
    provider = endpoint.get("credential_binding", {}).get("provider")
    if provider and provider not in attached:
        problem = f"credential_binding references provider '{provider}', but that provider is not attached to the sandbox"
        yield Fault(("credential_binding", "provider"), problem, "Name a provider of the sandbox.")
    said = f"network policy '{name}': endpoint '{endpoint.get('host', '')}' has"
    if endpoint.get("credential_signing") and not attached:
        problem = f"credential_signing endpoint '{endpoint.get('host', '')}' has no resolvable AWS credential source"
        yield Fault(("credential_signing",), problem, "Take it out: no provider of the sandbox has AWS credentials.")
    if endpoint.get("credential_signing") and not endpoint.get("signing_service"):
        yield Fault(("signing_service",), f"{said} credential_signing set but signing_service is empty", "Set it.")
    if endpoint.get("credential_signing") and endpoint.get("request_body_credential_rewrite"):
        problem = f"{said} both credential_signing and request_body_credential_rewrite set; these options are mutually exclusive"
        yield Fault(("credential_signing",), problem, "Take one of them out.")


def _protocol(endpoint: dict[str, t.Any]) -> t.Iterator[Fault]:
    protocol, access, rules, deny = (endpoint.get(key) for key in ("protocol", "access", "rules", "deny_rules"))
    path = endpoint.get("path", "")
    every_method = (endpoint.get("mcp") or {}).get("allow_all_known_mcp_methods", False)
    if path and not path.startswith("/") and path != "**":
        yield Fault(("path",), f"endpoint path must start with '/' or be '**', got '{path}'", "Begin it with a slash.")
    if not protocol:
        if deny:
            yield Fault(("deny_rules",), "deny_rules require protocol (L7 inspection must be enabled)", "Set protocol: rest.")
        for key in INSPECTED_ONLY:
            if endpoint.get(key) and (key, endpoint[key]) != ("access", "full"):
                yield Fault(
                    (key,), "it has no effect without a protocol: nothing is inspected, everything is let through.", "Set protocol: rest, or take it out."
                )
        return
    if "enforcement" not in endpoint:
        yield Fault(("enforcement",), "is missing; OpenShell then lets everything through and only logs it.", "Set enforcement: enforce.")
    if endpoint.get("tls") == "skip":
        yield Fault(
            ("tls",), "'tls: skip' with L7 rules: L7 inspection cannot work on encrypted traffic", "Take it out, or take protocol and what it needs out."
        )
    if rules and access:
        yield Fault(("access",), "rules and access are mutually exclusive", "Take one of them out.")
    if protocol in ("json-rpc", "mcp") and access:
        yield Fault(("access",), f"protocol {protocol} does not support access presets", "Write rules.")
    if not rules and not access and not (protocol == "mcp" and every_method):
        said = {
            "json-rpc": "protocol json-rpc requires explicit rules with allow.method",
            "mcp": "protocol mcp requires rules when mcp.allow_all_known_mcp_methods is false",
        }
        yield Fault((), said.get(protocol, "protocol requires rules or access to define allowed traffic"), "Write rules, or set access.")
        if deny and protocol != "mcp":
            yield Fault(("deny_rules",), "deny_rules require rules or access to define the base allow set", "Write rules, or set access.")
    if protocol == "sql" and endpoint.get("enforcement") == "enforce":
        yield Fault(("enforcement",), "SQL enforcement requires full SQL parsing (not available in v1). Use `enforcement: audit`.", "Set enforcement: audit.")
    if "mcp" in endpoint and protocol != "mcp":
        yield Fault(("mcp",), "mcp options are only valid for protocol mcp", "Take it out.")
    if protocol == "mcp" and not endpoint.get("host"):
        yield Fault(("host",), "protocol mcp requires host; protocol alone is not a wildcard endpoint", "Set host.")
    for key, operation in (endpoint.get("graphql_persisted_queries") or {}).items():
        if operation["operation_type"].lower() not in OPERATIONS:
            yield Fault(("graphql_persisted_queries", key), _operation(operation["operation_type"]), "Write query.")


def _operation(value: str) -> str:
    return f"operation_type: expected query, mutation, subscription, or *, got '{value}'"


def _request(endpoint: dict[str, t.Any], denied: bool, request: dict[str, t.Any]) -> t.Iterator[Fault]:
    """An allowed or denied kind of request. Stricter than OpenShell, which takes what a protocol does not know and looks past it."""
    protocol = endpoint.get("protocol", "")
    method, path = request.get("method", ""), request.get("path", "")
    wanted = {
        "rest": ("method", "path", "query"),
        "websocket": ("method", "path", "query", "operation_type", "operation_name", "fields"),
        "graphql": ("operation_type", "operation_name", "fields"),
        "sql": ("command",),
        "json-rpc": ("method",),
        "mcp": ("method", "tool", "params"),
    }.get(protocol, tuple(request))
    for key in request:
        if key not in wanted:
            yield Fault((key,), f"it means nothing to the protocol {protocol}.", f"Known: {', '.join(wanted)}.")
    if not any(request.get(key) for key in wanted):
        problem = "rules would deny all traffic (no allow clause found). Use `access: full` or add allow clauses to rules."
        if not (protocol == "mcp" and not denied and (endpoint.get("mcp") or {}).get("allow_all_known_mcp_methods")):
            yield Fault((), problem if not denied else "it denies nothing.", "Say which requests.")
        return
    operation = [key for key in ("operation_type", "operation_name", "fields") if key in request]
    if protocol in METHODS and not operation:
        if not method:
            yield Fault(("method",), "is missing.", 'Set it; "*" is any.')
        elif method.upper() not in METHODS[protocol]:
            yield Fault(("method",), f"Unknown HTTP/WebSocket method '{method}'.", f"Known: {', '.join(METHODS[protocol])}.")
        if not path.startswith(("/", "**")):
            yield Fault(("path",), f"path must start with '/' or be '**', got '{path}'", "Begin it with a slash.")
    if protocol == "websocket" and operation and any(key in request for key in ("method", "path", "query")):
        yield Fault((), "WebSocket GraphQL rules must not combine method/path/query with operation_type/operation_name/fields", "Make two rules of it.")
    if protocol == "graphql" or (protocol == "websocket" and operation):
        value = request.get("operation_type", "")
        if not value:
            yield Fault(("operation_type",), "operation_type: required for GraphQL L7 rules", "Write query.")
        elif value.lower() not in OPERATIONS:
            yield Fault(("operation_type",), _operation(value), "Write query.")
    if protocol == "json-rpc" and (not method or (method != "*" and _is_glob(method))):
        problem = 'generic JSON-RPC method rules do not support glob or wildcard matchers; use "*" to allow all methods or an exact method name'
        yield Fault(("method",), problem, "Name the method.")
    if protocol == "mcp":
        yield from _mcp(endpoint, request)


def _mcp(endpoint: dict[str, t.Any], request: dict[str, t.Any]) -> t.Iterator[Fault]:
    method, options = request.get("method", ""), endpoint.get("mcp") or {}
    named = [key for key in ("tool", "params") if key in request]
    if not method and not options.get("allow_all_known_mcp_methods"):
        yield Fault(("method",), "required when mcp.allow_all_known_mcp_methods is false", "Name the method, such as tools/call.")
    if _is_glob(method) and not method.startswith("tools/"):
        problem = "MCP method globs are only valid for the tools/ method family; omit method to use the endpoint method profile"
        yield Fault(("method",), problem, "Name the method.")
    if named and method and method != "tools/call":
        yield Fault(("method",), f"must be tools/call when an MCP rule uses tool or params.name, got '{method}'", "Write tools/call.")
    if len(named) == 2:
        yield Fault(("tool",), "MCP rules must use either tool or params.name, not both", "Take one of them out.")
    if named and options.get("strict_tool_names") is False and _is_glob(str(request[named[0]])):
        problem = "wildcard tool-name matchers require mcp.strict_tool_names to remain enabled"
        yield Fault((named[0],), problem, "Name the tools, or take mcp.strict_tool_names out.")
    narrowed = any("tool" in rule["allow"] or "params" in rule["allow"] for rule in endpoint.get("rules", []))
    if narrowed and not named and (method in ("tools/call", "tools/*", "tools/**") or not method):
        problem = "method matcher matches every tool call and conflicts with MCP tool allow rules"
        yield Fault(("method",), problem, "Add tool, or take the rules that name tools out.")


def _is_glob(text: str) -> bool:
    return any(character in text for character in "*?[]{}")
