# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of docs/policies.md are what the blueprint's policies say. After a change: `make renew`."""

from __future__ import annotations

import os
import pathlib

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.compose import Catalogue
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.presets import for_agent

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "policies.md"


def tiers(catalogue: Catalogue) -> str:
    rows = ["| tier | meaning | presets |", "|---|---|---|"]
    for name, tier in catalogue.tiers.items():
        presets = ", ".join(entry["name"] + (" (read)" if entry["access"] == "read" else "") for entry in tier["presets"])
        rows.append(f"| `{name}` | {tier['description']} | {presets} |")
    return "\n".join(rows)


def hosts(rules: dict) -> str:
    found = [
        f"those of `nemoclaw_package_hosts.{endpoint['package_hosts']}`" if "package_hosts" in endpoint else f"{endpoint['host']}:{endpoint['port']}"
        for rule in rules.values()
        for endpoint in rule["endpoints"]
    ]
    return ", ".join(name.removesuffix(":443") for name in dict.fromkeys(found))


def presets(catalogue: Catalogue) -> str:
    rows = ["| preset | for | agents | hosts |", "|---|---|---|---|"]
    for name in catalogue.builtin:
        preset = catalogue.preset(name)
        agents = {agent: rules for agent in catalogue.programs if (rules := for_agent(preset, agent))}
        every = "all" if set(agents) == set(catalogue.programs) else ", ".join(agents)
        rows.append(f"| `{name}` | {preset['description']} | {every} | {hosts(next(iter(agents.values())))} |".replace("*", "\\*"))
    return "\n".join(rows)


def renewed(text: str) -> str:
    """The page with its tables made anew: each goes from its mark to the next empty line."""
    catalogue = Catalogue(Blueprint(), {})
    for mark, table in (("<!-- tiers -->", tiers(catalogue)), ("<!-- presets -->", presets(catalogue))):
        head, _mark, rest = text.partition(f"{mark}\n")
        text = f"{head}{mark}\n\n{table}\n\n{rest.lstrip().partition(chr(10) * 2)[2] if rest.lstrip().startswith('|') else rest.lstrip()}"
    return text


def test_the_tables_are_current():
    text = PAGE.read_text(encoding="utf-8")
    if os.environ.get("NEMOCLAW_RENEW"):
        PAGE.write_text(renewed(text), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == renewed(text)
