# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incremental changes of a policy (`policy update`), parsed from their flags and applied."""

from __future__ import annotations

import copy
import re

from ..errors import Failure, NotRecorded, missing
from ..supervisor.policy import METHODS, ports

ACCESS, PROTOCOLS = ("read-only", "read-write", "full"), ("rest", "websocket", "sql")


def operations(add_endpoint=(), remove_endpoint=(), add_allow=(), add_deny=(), remove_rule=(), binary=(), rule_name=None):
    """The operations that the flags ask for; raises Failure on a malformed one."""
    if any(not path.strip() for path in binary):
        raise Failure("--binary values must not be empty")
    if binary and not add_endpoint:
        raise Failure("--binary can only be used with --add-endpoint")
    if rule_name and not add_endpoint:
        raise Failure("--rule-name can only be used with --add-endpoint")
    if rule_name and len(add_endpoint) != 1:
        raise Failure("--rule-name is only supported when exactly one --add-endpoint is provided")
    found = [
        {
            "op": "add_endpoint",
            "endpoint": _endpoint(text),
            "rule": (rule_name or "").strip() or None,
            "binaries": [{"path": path} for path in dict.fromkeys(binary)],
        }
        for text in add_endpoint
    ]
    found += [{"op": "remove_endpoint", **_host_port("--remove-endpoint", text)} for text in remove_endpoint]
    for name in remove_rule:
        if not name.strip():
            raise Failure("--remove-rule values must not be empty")
        found.append({"op": "remove_rule", "rule": name.strip()})
    found += [{"op": "add_allow", **_request("--add-allow", text)} for text in add_allow]
    found += [{"op": "add_deny", **_request("--add-deny", text)} for text in add_deny]
    if not found:
        raise Failure("policy update requires at least one operation flag")
    return found


def _host(flag, text, host):
    host = host.strip()
    if not host:
        raise Failure(f"{flag} has an empty host segment in '{text}'")
    if re.search(r"\s", host):
        raise Failure(f"{flag} host must not contain whitespace in '{text}'")
    if "/" in host:
        raise Failure(f"{flag} host must not contain '/' in '{text}'")
    return host


def _port(flag, text, port):
    port = port.strip()
    if not port:
        raise Failure(f"{flag} has an empty port segment in '{text}'")
    if not port.isdigit():
        raise Failure(f"{flag} port segment must be a base-10 integer, got '{port}' in '{text}'")
    if not 0 < int(port) < 65536:
        raise Failure(f"{flag} port must be in the range 1-65535, got '{int(port)}' in '{text}'")
    return int(port)


def _endpoint(text):
    flag, parts = "--add-endpoint", text.split(":")
    if not 2 <= len(parts) <= 6:
        raise Failure(f"{flag} expects host:port[:access[:protocol[:enforcement[:options]]]], got '{text}'")
    host, port = _host(flag, text, parts[0]), _port(flag, text, parts[1])
    access, protocol, enforcement, options = ([part.strip() for part in parts[2:]] + [""] * 4)[:4]
    if len(parts) == 3 and not access:
        raise Failure(f"{flag} has an empty access segment in '{text}'; omit it entirely if you do not need access or protocol fields")
    if len(parts) == 6 and not options:
        raise Failure(f"{flag} has an empty options segment in '{text}'; omit it entirely if you do not need endpoint options")
    if enforcement and not protocol:
        raise Failure(f"{flag} cannot set enforcement without protocol in '{text}'")
    if access and access not in ACCESS:
        raise Failure(f"{flag} access segment must be one of read-only, read-write, or full; got '{access}' in '{text}'")
    if protocol and protocol not in PROTOCOLS:
        raise Failure(f"{flag} protocol segment must be 'rest', 'websocket', or 'sql'; got '{protocol}' in '{text}'")
    if enforcement and enforcement not in ("enforce", "audit"):
        raise Failure(f"{flag} enforcement segment must be 'enforce' or 'audit'; got '{enforcement}' in '{text}'")
    if options:
        raise NotRecorded(f"policy update {flag} with options ({options})")
    endpoint = {"host": host, "port": port, "protocol": protocol, "enforcement": enforcement, "access": access}
    return {key: value for key, value in endpoint.items() if value}


def _host_port(flag, text):
    parts = text.split(":")
    if len(parts) != 2:
        raise Failure(f"{flag} expects host:port, got '{text}'")
    return {"host": _host(flag, text, parts[0]), "port": _port(flag, text, parts[1])}


def _request(flag, text):
    parts = text.split(":")
    if len(parts) != 4:
        raise Failure(f"{flag} expects host:port:METHOD:path_glob, got '{text}'")
    host, port, method, path = _host(flag, text, parts[0]), _port(flag, text, parts[1]), parts[2].strip(), parts[3].strip()
    if not method:
        raise Failure(f"{flag} has an empty METHOD segment in '{text}'")
    if re.search(r"\s", method):
        raise Failure(f"{flag} METHOD must not contain whitespace in '{text}'")
    if not path:
        raise Failure(f"{flag} has an empty path segment in '{text}'")
    if not path.startswith("/") and path != "**" and not path.startswith("**/"):
        raise Failure(f"{flag} path must start with '/' or be '**', got '{path}' in '{text}'")
    return {"host": host, "port": port, "method": method.upper(), "path": path}


def merged(policy, found):
    """(new policy, warnings). The same policy comes back when nothing changes."""
    policy, warnings = copy.deepcopy(policy), []
    rules = policy.setdefault("network_policies", {})
    for operation in found:
        _APPLY[operation["op"]](rules, operation, warnings)
    policy["network_policies"] = dict(sorted(rules.items()))
    if not rules:
        del policy["network_policies"]
    return policy, warnings


def _add_endpoint(rules, operation, _warnings):
    endpoint = operation["endpoint"]
    name = operation["rule"] or "allow_" + re.sub(r"[^a-z0-9]+", "_", f"{endpoint['host'].lower()}_{endpoint['port']}").strip("_")
    rule = rules.setdefault(name, {"name": name, "endpoints": []})
    same = [one for one in rule["endpoints"] if one.get("host") == endpoint["host"] and endpoint["port"] in ports(one)]
    if same and same[0] != endpoint:
        raise NotRecorded("policy update --add-endpoint that changes an existing endpoint")
    if not same:
        rule["endpoints"].append(endpoint)
    known = rule.get("binaries", [])
    known += [binary for binary in operation["binaries"] if binary not in known]
    if known:
        rule["binaries"] = known


def _remove_endpoint(rules, operation, _warnings):
    for name, rule in list(rules.items()):
        kept = []
        for endpoint in rule.get("endpoints", ()):
            if endpoint.get("host") == operation["host"] and operation["port"] in ports(endpoint):
                left = [port for port in ports(endpoint) if port != operation["port"]]
                if left:
                    raise NotRecorded("policy update --remove-endpoint of one of several ports")
            else:
                kept.append(endpoint)
        if len(kept) != len(rule.get("endpoints", ())):
            if kept:
                rule["endpoints"] = kept
            else:
                del rules[name]


def _matching(rules, operation):
    found = [
        endpoint
        for rule in rules.values()
        for endpoint in rule.get("endpoints", ())
        if endpoint.get("host") == operation["host"] and operation["port"] in ports(endpoint)
    ]
    if not found:
        raise missing(f"endpoint {operation['host']}:{operation['port']} was not found in the current policy")
    return found


def _add_allow(rules, operation, warnings):
    for endpoint in _matching(rules, operation):
        if endpoint.get("access"):
            access = endpoint.pop("access")
            endpoint["rules"] = [{"allow": {"method": method, "path": "**"}} for method in METHODS[access]]
            warnings.append(f"expanded access preset '{access}' to explicit rules for endpoint {operation['host']}:{operation['port']}")
        allow = {"allow": {"method": operation["method"], "path": operation["path"]}}
        if allow not in endpoint.setdefault("rules", []):
            endpoint["rules"].append(allow)


def _add_deny(rules, operation, _warnings):
    for endpoint in _matching(rules, operation):
        deny = {"method": operation["method"], "path": operation["path"]}
        if deny not in endpoint.setdefault("deny_rules", []):
            endpoint["deny_rules"].append(deny)


def _remove_rule(rules, operation, _warnings):
    rules.pop(operation["rule"], None)


_APPLY = {
    "add_endpoint": _add_endpoint,
    "remove_endpoint": _remove_endpoint,
    "add_allow": _add_allow,
    "add_deny": _add_deny,
    "remove_rule": _remove_rule,
}
