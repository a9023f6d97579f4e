# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provider profiles: read from YAML, completed with defaults, checked."""

from __future__ import annotations

import re

from ..errors import NotRecorded
from ..policy import load

CATEGORIES = ("other", "inference", "agent", "source_control", "messaging", "data", "knowledge")
ENDPOINT = (
    "host",
    "port",
    "protocol",
    "tls",
    "access",
    "enforcement",
    "rules",
    "allowed_ips",
    "ports",
    "deny_rules",
    "allow_encoded_slash",
    "websocket_credential_rewrite",
    "request_body_credential_rewrite",
    "path",
)
NEEDS = {"bearer": "header_name", "header": "header_name", "query": "query_param"}
UNTRIED = ("refresh", "token_grant", "path_template")


class Malformed(Exception):
    """The file holds no profile, in the real parser's words."""


def parse(text):
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise NotRecorded(f"a provider profile that is no YAML ({error})") from None
    if not isinstance(data, dict):
        raise NotRecorded("a provider profile that is no mapping")
    for name in ("id", "display_name"):
        if name not in data:
            raise Malformed(f"missing field `{name}`")
    for name in ("credentials", "endpoints", "binaries"):
        if not isinstance(data.get(name) or [], list):
            raise NotRecorded(f"a provider profile whose {name} is no list")
    category = data.get("category", "other")
    if category not in CATEGORIES:
        raise Malformed(f"unsupported provider profile category: {category}")
    for credential in data.get("credentials") or ():
        used = [name for name in UNTRIED if credential.get(name)]
        if used:
            raise NotRecorded(f"a provider profile with {used[0]}")
    return {
        "id": data["id"],
        "resource_version": data.get("resource_version", 0),
        "display_name": data["display_name"],
        "description": data.get("description", ""),
        "category": category,
        "credentials": [_credential(one) for one in data.get("credentials") or ()],
        "endpoints": [{key: one[key] for key in ENDPOINT if one.get(key)} for one in data.get("endpoints") or ()],
        "binaries": data.get("binaries") or [],
        "inference_capable": bool(data.get("inference_capable")),
    }


def _credential(one):
    return {
        "name": one.get("name", ""),
        "description": one.get("description", ""),
        "env_vars": one.get("env_vars") or [],
        "required": bool(one.get("required")),
        "auth_style": one.get("auth_style", ""),
        "header_name": one.get("header_name", ""),
        "query_param": one.get("query_param", ""),
    }


def problems(profile):
    """[(field, problem)] of a parsed profile."""
    found, name = [], str(profile["id"])
    if not name.strip():
        found.append(("id", "provider profile id is required"))
    elif not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        found.append(("id", "provider profile id must be lowercase kebab-case using only a-z, 0-9, and '-'"))
    names, variables = set(), set()
    for one in profile["credentials"]:
        if not one["name"].strip():
            found.append(("credentials.name", "credential name is required"))
        elif one["name"] in names:
            found.append(("credentials.name", f"duplicate credential name: {one['name']}"))
        names.add(one["name"])
    for one in profile["credentials"]:
        for variable in one["env_vars"]:
            if variable in variables:
                found.append(("credentials.env_vars", f"duplicate credential env var '{variable}'"))
            variables.add(variable)
        style = one["auth_style"].strip().lower()
        if style not in ("", "basic", "path", *NEEDS):
            found.append(("credentials.auth_style", f"unsupported auth_style: {one['auth_style']}"))
        elif style in NEEDS and not one[NEEDS[style]].strip():
            found.append((f"credentials.{NEEDS[style]}", f"{NEEDS[style]} is required for {style} auth"))
    for index, endpoint in enumerate(profile["endpoints"]):
        if not endpoint.get("host") or not (endpoint.get("port") or endpoint.get("ports")):
            found.append((f"endpoints[{index}]", f"invalid endpoint '{endpoint.get('host', '')}:{endpoint.get('port', 0)}'"))
        found += [(f"endpoints[{index}]", fault) for fault in load.endpoint_faults(endpoint)]
    return found
