# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies of all sandboxes of a host, from the user's variables. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem, nearest
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.compose import Catalogue, Composed, Composer

OWN = "nemoclaw_policy_presets"


def with_gpus(base: dict[str, t.Any]) -> dict[str, t.Any]:
    """A base policy for a sandbox with GPUs. OpenShell opens their devices only where it may make /proc writable, which CUDA needs."""
    files = base["filesystem_policy"]
    read_only = [path for path in files["read_only"] if path != "/proc"]
    return {**base, "filesystem_policy": {**files, "read_only": read_only, "read_write": [*files["read_write"], "/proc"]}}


class HostPolicies:
    """C(variables) are completed, C(agents) maps a name to its manifest."""

    def __init__(self, variables: dict[str, t.Any], blueprint: Blueprint, agents: dict[str, t.Any]) -> None:
        self.variables = variables
        self.catalogue = Catalogue(blueprint, variables[OWN])
        self.bases = {name: blueprint.yaml(manifest["policy"]) for name, manifest in agents.items()}

    def composed(self, facts: dict[str, t.Any] | None) -> dict[str, Composed]:
        """What each present sandbox may do, by name; C(facts) are None before the probe."""
        hosts = None if facts is None else {**facts.get("package_hosts", {}), **self.variables["nemoclaw_package_hosts"]}
        bound, *changes = (self.variables[f"nemoclaw_policy_{key}"] for key in ("max_open", "add", "remove"))
        return {
            sandbox["name"]: Composer(self.catalogue, sandbox["agent"], f"nemoclaw_sandboxes[{index}].policy", hosts).compose(
                with_gpus(self.bases[sandbox["agent"]]) if sandbox.get("gpu") else self.bases[sandbox["agent"]], sandbox["policy"], bound, *changes
            )
            for index, sandbox in enumerate(self.variables["nemoclaw_sandboxes"])
            if sandbox["state"] != "absent"
        }

    def problems(self) -> list[Problem]:
        """What is wrong with them whatever the host, and with presets of the fleet's own that no sandbox has."""
        return [*self._own_problems(), *(one for made in self.composed(None).values() for one in made.problems)]

    def _own_problems(self) -> t.Iterator[Problem]:
        for name, preset in self.variables[OWN].items():
            where = f"{OWN}.{name}"
            if name in self.catalogue.builtin and not preset.get("override"):
                yield Problem(where, f"there is a preset {name} already.", "Give it another name, or set override: true to replace it.")
            for agent in preset.get("agents", sorted(self.bases)):
                if agent not in self.catalogue.programs:
                    yield Problem(f"{where}.agents", f"{agent!r} is no agent.", nearest(agent, self.catalogue.programs))
                    continue
                composer = Composer(self.catalogue, agent, where, None)
                chosen = {"tier": "restricted", "presets": [name]}
                yield from composer.compose({"version": 1}, chosen, self.variables["nemoclaw_policy_max_open"]).problems
