# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy files: parsed strictly, held in one canonical form (a dict without defaults, keys in file order of the schema), written as YAML.

The parser walks YAML events, so that the first fault in reading order is the one reported, with its line and column.
"""

from __future__ import annotations

import hashlib
import json
import re

from ..errors import Failure, NotRecorded

ALLOW = {
    "method": "str",
    "path": "str",
    "command": "str",
    "query": "matchers",
    "operation_type": "str",
    "operation_name": "str",
    "fields": ["str"],
    "tool": "any",
    "params": "any",
}
STRUCTS = {
    "policy": {
        "version": "u32",
        "filesystem_policy": "filesystem",
        "landlock": "landlock",
        "process": "process",
        "network_policies": {"": "rule"},
        "network_middlewares": "any",
    },
    "filesystem": {"include_workdir": "bool", "read_only": ["str"], "read_write": ["str"]},
    "landlock": {"compatibility": "str"},
    "process": {"run_as_user": "str", "run_as_group": "str"},
    "rule": {"name": "str", "endpoints": ["endpoint"], "binaries": ["binary"]},
    "endpoint": {
        "host": "str",
        "path": "str",
        "port": "u16",
        "ports": ["u16"],
        "protocol": "str",
        "tls": "str",
        "enforcement": "str",
        "access": "str",
        "rules": ["l7rule"],
        "allowed_ips": ["str"],
        "deny_rules": ["deny"],
        "allow_encoded_slash": "bool",
        "websocket_credential_rewrite": "bool",
        "request_body_credential_rewrite": "bool",
        "persisted_queries": "str",
        "graphql_persisted_queries": "any",
        "graphql_max_body_bytes": "u32",
        "credential_signing": "str",
        "signing_service": "str",
        "signing_region": "str",
        "credential_binding": "binding",
        "json_rpc": "json_rpc",
        "mcp": "mcp",
    },
    "binding": {"provider": "str"},
    "json_rpc": {"max_body_bytes": "u32"},
    "mcp": {"max_body_bytes": "u32", "strict_tool_names": "bool", "allow_all_known_mcp_methods": "bool"},
    "l7rule": {"allow": "allow"},
    "allow": ALLOW,
    "deny": ALLOW,
    "binary": {"path": "str", "harness": "bool"},
}
# Names of the structures in the real program, which its faults show.
NAMES = {
    "policy": "PolicyFile",
    "filesystem": "FilesystemDef",
    "landlock": "LandlockDef",
    "process": "ProcessDef",
    "rule": "NetworkPolicyRuleDef",
    "endpoint": "NetworkEndpointDef",
    "binding": "NetworkCredentialBindingDef",
    "json_rpc": "JsonRpcConfigDef",
    "mcp": "McpConfigDef",
    "l7rule": "L7RuleDef",
    "allow": "L7AllowDef",
    "deny": "L7DenyRuleDef",
    "binary": "NetworkBinaryDef",
}
REQUIRED = {"policy": ("version",), "binding": ("provider",), "l7rule": ("allow",), "binary": ("path",)}
KEPT = {("filesystem", "include_workdir"), ("policy", "version")}
DEFAULTS = ("", 0, False, None, [], {})
EXPECTED = {"u32": "u32", "u16": "u16", "bool": "a boolean", "str": "a string"}
LIMITS = {"u32": 2**32 - 1, "u16": 65535}


class _Reader:
    """Recursive descent over YAML events, led by STRUCTS."""

    def __init__(self, text):
        import yaml

        self.yaml, self.events = yaml, yaml.parse(text, Loader=yaml.SafeLoader)
        self.ahead = None
        self.resolve = yaml.SafeLoader("").resolve

    def next(self):
        event, self.ahead = self.peek(), None
        return event

    def peek(self):
        if self.ahead is None:
            self.ahead = next(self.events)
        return self.ahead

    def fault(self, event, path, text):
        mark = event.start_mark
        # At the document's start the real parser gives no place.
        where = f" at line {mark.line + 1} column {mark.column + 1}" if (mark.line, mark.column) != (0, 0) else ""
        return Failure("failed to parse sandbox policy YAML", f"{path}: {text}{where}" if path else text + where)

    def value(self, kind, path):
        if isinstance(kind, list):
            return self.sequence(kind[0], path)
        if isinstance(kind, dict):
            return self.mapping(kind[""], path)
        if kind in STRUCTS:
            return self.struct(kind, path)
        if kind == "matchers":
            return self.matchers(path)
        return self.any(path) if kind == "any" else self.scalar(kind, path)

    def matchers(self, path):
        start, found = self.peek(), self.any(path)
        for matcher in found.values() if isinstance(found, dict) else ():
            if isinstance(matcher, list) or (isinstance(matcher, dict) and set(matcher) != {"any"}):
                raise self.fault(start, path, "data did not match any variant of untagged enum QueryMatcherDef")
        return found

    def what(self, event):
        if isinstance(event, self.yaml.SequenceStartEvent):
            return "sequence"
        if isinstance(event, self.yaml.MappingStartEvent):
            return "map"
        value = self.plain(event)
        if value is None:
            return "unit value"
        if isinstance(value, bool):
            return f"boolean `{str(value).lower()}`"
        if isinstance(value, int):
            return f"integer `{value}`"
        if isinstance(value, float):
            return f"floating point `{value}`"
        return f"string {json.dumps(value, ensure_ascii=False)}"

    def plain(self, event):
        """The value a scalar stands for: serde_yml's YAML 1.2 reading (yes and no are strings)."""
        if not event.implicit[0]:
            return event.value
        if event.value in ("", "~", "null", "Null", "NULL"):
            return None
        if event.value.lower() in ("true", "false"):
            return event.value.lower() == "true"
        if re.fullmatch(r"[-+]?\d+", event.value):
            return int(event.value)
        if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?", event.value):
            return float(event.value)
        return event.value

    def scalar(self, kind, path):
        event = self.next()
        if not isinstance(event, self.yaml.ScalarEvent):
            raise self.fault(event, path, f"invalid type: {self.what(event)}, expected {EXPECTED[kind]}")
        value = self.plain(event)
        if kind == "str":
            return event.value
        if (kind == "bool" and not isinstance(value, bool)) or (kind != "bool" and (not isinstance(value, int) or isinstance(value, bool))):
            raise self.fault(event, path, f"invalid type: {self.what(event)}, expected {EXPECTED[kind]}")
        if kind != "bool" and value < 0:
            raise self.fault(event, path, f"invalid type: integer `{value}`, expected {kind}")
        if kind != "bool" and value > LIMITS[kind]:
            raise self.fault(event, path, f"invalid value: integer `{value}`, expected {kind}")
        return value

    def sequence(self, item, path):
        event = self.next()
        if not isinstance(event, self.yaml.SequenceStartEvent):
            raise self.fault(event, path, f"invalid type: {self.what(event)}, expected a sequence")
        items = []
        while not isinstance(self.peek(), self.yaml.SequenceEndEvent):
            items.append(self.value(item, f"{path}.\\[{len(items)}\\]"))
        self.next()
        return items

    def keys(self, path, expected):
        event = self.next()
        if not isinstance(event, self.yaml.MappingStartEvent):
            raise self.fault(event, path, f"invalid type: {self.what(event)}, expected {expected}")
        while not isinstance(self.peek(), self.yaml.MappingEndEvent):
            yield self.next()
        self.next()

    def mapping(self, item, path):
        found = {key.value: self.value(item, f"{path}.{key.value}") for key in self.keys(path, "a map")}
        return dict(sorted(found.items()))

    def struct(self, kind, path):
        fields, found, start = STRUCTS[kind], {}, self.peek()
        for key in self.keys(path, f"struct {NAMES[kind]}"):
            if key.value not in fields:
                raise self.fault(key, path, f"unknown field `{key.value}`, expected " + one_of(list(fields)))
            if key.value in found:
                raise self.fault(key, path, f"duplicate field `{key.value}`")
            found[key.value] = self.value(fields[key.value], f"{path}.{key.value}" if path else key.value)
        for name in REQUIRED.get(kind, ()):
            if name not in found:
                raise self.fault(start, path, f"missing field `{name}`")
        return canonical(kind, found)

    def any(self, path):
        event = self.next()
        if isinstance(event, self.yaml.ScalarEvent):
            return self.plain(event)
        if isinstance(event, self.yaml.SequenceStartEvent):
            items = []
            while not isinstance(self.peek(), self.yaml.SequenceEndEvent):
                items.append(self.any(path))
            self.next()
            return items
        found = {}
        while not isinstance(self.peek(), self.yaml.MappingEndEvent):
            key = self.next().value
            found[key] = self.any(path)
        self.next()
        return dict(sorted(found.items()))


def one_of(names):
    if len(names) == 1:
        return f"`{names[0]}`"
    if len(names) == 2:
        return f"`{names[0]}` or `{names[1]}`"
    return "one of " + ", ".join(f"`{name}`" for name in names)


def canonical(kind, found):
    """The fields in schema order, without those that say nothing."""
    if kind == "endpoint":
        ports = found.pop("ports", None) or ([found["port"]] if found.get("port") else [])
        found.pop("port", None)
        found.update({"port": ports[0]} if len(ports) == 1 else {"ports": ports} if ports else {})
    if kind == "binary":
        found.pop("harness", None)
    if kind == "filesystem":
        found.setdefault("include_workdir", False)
    return {
        name: found[name]
        for name in STRUCTS[kind]
        if (name in found and (found[name] not in DEFAULTS or (kind, name) in KEPT))
        or (name in found and found[name] == {} and kind == "policy" and name in ("filesystem_policy", "landlock"))
    }


def parse(text):
    """The canonical policy of a YAML (or JSON) text; raises Failure as the real command line prints it."""
    import yaml

    reader = _Reader(text)
    try:
        reader.next()
        if isinstance(reader.next(), yaml.StreamEndEvent):
            raise Failure("failed to parse sandbox policy YAML", "missing field `version`")
        found = reader.value("policy", "")
        while not isinstance(reader.next(), yaml.StreamEndEvent):
            pass
    except yaml.YAMLError as error:
        raise NotRecorded(f"a policy file that is no YAML ({error})") from None
    for key, rule in found.get("network_policies", {}).items():
        found["network_policies"][key] = {"name": key, **rule} if "name" not in rule else rule
    return found


def digest(policy):
    """What names a policy's content: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()


# -- YAML ---------------------------------------------------------------------------------------------------------------------------

PLAIN = re.compile(r"[A-Za-z_/](?:[^\s:#]|:(?=\S)|(?<=\S)#| (?=[^\s#]))*")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"}


def quoted(value):
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    if PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    return "'" + value.replace("'", "''") + "'"


def to_yaml(data, indent=""):
    """Block style as serde_yml writes it: sequences not indented below their key."""
    lines = []
    for key, value in data.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", to_yaml(value, indent + "  ")]
        elif isinstance(value, list) and value:
            lines.append(f"{indent}{key}:")
            lines += [_item(item, indent) for item in value]
        else:
            lines.append(f"{indent}{key}: {'{}' if value == {} else '[]' if value == [] else quoted(value)}")
    return "\n".join(lines)


def _item(item, indent):
    if not isinstance(item, dict):
        return f"{indent}- {quoted(item)}"
    text = to_yaml(item, indent + "  ")
    return f"{indent}- {text[len(indent) + 2 :]}"
