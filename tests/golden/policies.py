# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies that ours, the emulator's and the real OpenShell's judgements are compared on, and what the real one said (policies/real.json)."""

from __future__ import annotations

import hashlib
import json
import pathlib
import typing as t

import yaml

FOLDER = pathlib.Path(__file__).parent / "policies"
RECORDED = FOLDER / "real.json"
BASE = {
    "version": 1,
    "filesystem_policy": {"include_workdir": True, "read_only": ["/usr", "/lib", "/etc", "/proc"], "read_write": ["/sandbox", "/tmp"]},
    "landlock": {"compatibility": "best_effort"},
    "process": {"run_as_user": "sandbox", "run_as_group": "sandbox"},
}
# names that resolve nowhere, for presets whose hosts come from the user
PACKAGE_HOSTS = {"npm": ["npm.example.org"], "pypi": ["pypi.example.org", "files.example.org:8443"], "brew": ["brew.example.org", "bottles.example.org"]}
CURL = [{"path": "/usr/bin/curl"}]


class Case(t.NamedTuple):
    """A policy by name. C(policy) is None where C(text) is no policy that YAML and JSON have in common."""

    name: str
    policy: dict[str, t.Any] | None
    text: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def live(self) -> bool:
        """Whether a running sandbox of the base policy could take it."""
        policy = self.policy or {}
        return all(policy.get(key) == BASE[key] for key in BASE)


def case(name: str, policy: dict[str, t.Any]) -> Case:
    return Case(name, policy, json.dumps(policy, sort_keys=True))


def corpus(which: str) -> list[Case]:
    """The cases of C(bad.yaml) or C(good.yaml)."""
    return [_case(entry) for entry in yaml.safe_load((FOLDER / f"{which}.yaml").read_text(encoding="utf-8"))]


def _case(entry: dict[str, t.Any]) -> Case:
    if "text" in entry:
        return Case(entry["name"], yaml.safe_load(entry["text"]), entry["text"])
    rules = entry.get("rules", {})
    if "endpoint" in entry:
        rules = {"rule": {"endpoints": [entry["endpoint"]], "binaries": CURL}}
    elif "rule" in entry:
        rules = {"rule": entry["rule"]}
    policy = _sized({**BASE, "network_policies": rules, **entry.get("policy", {})}, entry)
    return case(entry["name"], policy)


def _sized(value: t.Any, entry: dict[str, t.Any]) -> t.Any:
    """C(/LONG) as a path of C(long) characters, C(/MANY) as C(many) paths."""
    if isinstance(value, dict):
        return {key: _sized(inner, entry) for key, inner in value.items()}
    if isinstance(value, list):
        if "/MANY" in value:
            return [f"/usr/{number}" for number in range(entry["many"])]
        if {"path": "/MANY"} in value:
            return [{"path": f"/usr/bin/program-of-a-long-name-{number}"} for number in range(entry["many"])]
        return [_sized(inner, entry) for inner in value]
    return "/" + "x" * (entry["long"] - 1) if value == "/LONG" else value


def merged() -> list[Case]:
    """Every preset alone and every tier, for every agent that they are for, as a sandbox would get them."""
    from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
    from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.compose import Catalogue, Composer
    from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.presets import for_agent

    blueprint = Blueprint()
    catalogue = Catalogue(blueprint, {})
    found = []
    for agent in sorted(catalogue.programs):
        chosen = {f"tier {tier}": {"tier": tier} for tier in catalogue.tiers}
        for name in catalogue.names:
            if for_agent(catalogue.preset(name), agent) is not None:
                chosen[f"preset {name}"] = {"tier": "restricted", "presets": [name]}
                chosen[f"preset {name}, read"] = {"tier": "restricted", "presets": [{"name": name, "access": "read"}]}
        for title, policy in chosen.items():
            composed = Composer(catalogue, agent, "policy", PACKAGE_HOSTS).compose(
                blueprint.yaml(f"policies/{agent}.yaml"), policy, blueprint.data["policy"]["max_open"]
            )
            if composed.problems or composed.notes:
                raise ValueError(f"{title} of {agent}: {composed.problems} {composed.notes}")
            found.append(case(f"{title} of {agent}", composed.policy))
    return found


def recorded() -> dict[str, dict[str, str]]:
    """C({outcome, message, digest}) by name; C(outcome) is accepted, refused or "not loaded"."""
    return json.loads(RECORDED.read_text(encoding="utf-8"))
