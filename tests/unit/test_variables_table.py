# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/variables.md is what the schema of the variables says. After a change: `make renew`."""

from __future__ import annotations

import os
import pathlib
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import completed

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "variables.md"
HEAD = """\
<!-- SPDX-FileCopyrightText: nemoclaw.fleet contributors -->
<!-- SPDX-License-Identifier: GPL-3.0-or-later -->

# Variables

Made from `blueprint/schema/variables.yaml` by `make renew`. `[]` is an entry of a list, `<agent>` the name of an agent.
A key in bold has to be given where its parent is. All are checked before a host is touched; a mistake is named with its remedy.
A variable that begins with `nemoclaw_` and is not listed here is refused.

| variable | meaning | values | default |
|---|---|---|---|
"""
KEYS = {"nemoclaw_images": "<agent>", "nemoclaw_policy_presets": "<preset>", "network_policies": "<rule>"}


def defaults(blueprint: Blueprint) -> dict[str, t.Any]:
    """Defaults by dotted name: those of the plan, and those that the blueprint gives it later."""
    data, agent = blueprint.data, blueprint.yaml("agents/openclaw/manifest.yaml")
    provider = blueprint.yaml("inference/providers.yaml")["custom"]
    ollama = blueprint.yaml("inference/ollama.yaml")
    vllm, nim = blueprint.yaml("inference/vllm.yaml"), blueprint.yaml("inference/nim.yaml")
    found = dict(leaves(completed({"nemoclaw_sandboxes": [{}]}, data)))
    return found | {
        "nemoclaw_blueprint.source": "bundled",
        "nemoclaw_inference.preferred_api": provider["apis"][0],
        "nemoclaw_inference.timeout": data["inference"]["timeout"],
        "nemoclaw_inference.probe_timeout": data["inference"]["probe_timeout"],
        "nemoclaw_sandbox_ready_timeout": agent["start_timeout"],
        "nemoclaw_inference.context_window": agent["context_window"],
        "nemoclaw_inference.max_tokens": agent["max_tokens"],
        "nemoclaw_ollama.source": "present",
        "nemoclaw_ollama.require_tools": True,
        "nemoclaw_ollama.models[].state": "present",
        **{f"nemoclaw_ollama.{key}": ollama[key] for key in ("port", "context_length", "keep_alive", "stall_timeout")},
        "nemoclaw_ollama.load_timeout": ollama["load_timeouts"][-1],
        **{f"nemoclaw_vllm.{key}": vllm[key] for key in ("port", "load_timeout", "stall_timeout")},
        "nemoclaw_vllm.gpus": 1,
        **{f"nemoclaw_nim.{key}": nim[key] for key in ("port", "load_timeout", "stall_timeout")},
        "nemoclaw_nim.login.store": "none",
        **{f"nemoclaw_proxy.{key}": blueprint.yaml("inference/proxy.yaml")[key] for key in ("address", "port", "exempt_tags", "body_mb", "timeout")},
        "nemoclaw_images.<agent>.source": "build",
        "nemoclaw_images.<agent>.base": agent["base_image"],
        "nemoclaw_sandboxes[].dashboard_port": agent["port"],
        "nemoclaw_allow_rebuild": False,
    }


def leaves(value: t.Any, path: str = "") -> t.Iterator[tuple[str, t.Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


def described(schema: dict, root: dict, path: str = "") -> t.Iterator[tuple[str, dict, bool]]:
    """(dotted name, schema, required) of every variable and key that has a description."""
    for name, found in schema.get("properties", {}).items():
        one = {**root["$defs"][found["$ref"].rpartition("/")[2]], **found} if "$ref" in found else found
        dotted = f"{path}.{name}" if path else name
        if "description" in one:
            yield dotted, one, name in schema.get("required", [])
        inner = one.get("additionalProperties")
        if isinstance(inner, dict) and "properties" in inner:
            yield from described(inner, root, f"{dotted}.{KEYS[name]}")
        yield from described(one.get("items", one), root, f"{dotted}[]" if "items" in one else dotted)


KINDS = {"object": "mapping", "array": "list", "string": "text", "boolean": "`true`, `false`", "integer": "number", "number": "number"}


def values(one: dict) -> str:
    if "enum" in one:
        return quoted(one["enum"])
    if isinstance(one["type"], list):
        return ", ".join(KINDS[kind] for kind in one["type"])
    if "minimum" in one:
        return f"{one['minimum']} to {one['maximum']}"
    kind = KINDS[one["type"]]
    return f"{kind}, at most {one['maxLength']} characters" if "maxLength" in one else kind


def quoted(words: t.Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def page() -> str:
    blueprint = Blueprint()
    known = {
        "nemoclaw_inference.provider": quoted(blueprint.yaml("inference/providers.yaml")),
        "nemoclaw_inference.preferred_api": quoted(blueprint.yaml("inference/providers.yaml")["custom"]["apis"]),
        "nemoclaw_sandboxes[].agent": quoted(blueprint.agents()),
    }
    schema, given = blueprint.yaml("schema/variables.yaml"), defaults(blueprint)
    rows = []
    for name, one, required in described(schema, schema):
        default = given.pop(name, None)
        shown = "" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        rows.append(f"| {'**' if required else ''}`{name}`{'**' if required else ''} | {one['description']} | {known.get(name) or values(one)} | {shown} |\n")
    assert not given, f"defaults of what is not described: {', '.join(given)}"
    return HEAD + "".join(rows)


def test_the_page_is_current():
    if os.environ.get("NEMOCLAW_RENEW"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()
