# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox's whole policy: base, then its tier, then its presets, then its own rules. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem, dotted, nearest
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.bound import bound_faults
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.fault import Fault
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.presets import Rules, expanded, for_agent, package_sources, read_only
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.rules import faults

FOLDER = "policies"


class Composed(t.NamedTuple):
    """C(policy) in OpenShell's schema; C(notes) say what a tier has and this sandbox does not; with C(problems) the policy is not to be used."""

    policy: dict[str, t.Any]
    notes: list[str]
    problems: list[Problem]


class Catalogue:
    """The policies of a blueprint, each file read when it is asked for, and a fleet's own presets beside the blueprint's."""

    def __init__(self, blueprint: Blueprint, own: dict[str, t.Any]) -> None:
        self._blueprint = blueprint
        self.tiers: dict[str, t.Any] = blueprint.yaml(f"{FOLDER}/tiers.yaml")
        self.programs: dict[str, dict[str, list[str]]] = blueprint.yaml(f"{FOLDER}/programs.yaml")
        self.schema: dict[str, t.Any] = blueprint.yaml("schema/policy.yaml")
        self.builtin = blueprint.stems(f"{FOLDER}/presets")
        self.names = sorted({*self.builtin, *own})
        self._presets = dict(own)

    def preset(self, name: str) -> dict[str, t.Any]:
        if name not in self._presets:
            self._presets[name] = self._blueprint.yaml(f"{FOLDER}/presets/{name}.yaml")
        return self._presets[name]


class Composer:
    """Composes the policy of one sandbox. C(where) is its variable; C(hosts) are the package hosts by source, None while they are not known."""

    def __init__(self, catalogue: Catalogue, agent: str, where: str, hosts: dict[str, list[str]] | None) -> None:
        self.catalogue, self.agent, self.where, self.hosts = catalogue, agent, where, hosts
        self.programs = catalogue.programs.get(agent, {})
        self.notes: list[str] = []
        self.problems: list[Problem] = []
        self.sources: dict[str, str] = {}  # of each rule: the variable or preset it is from
        self.rules: Rules = {}

    def compose(
        self, base: dict[str, t.Any], chosen: dict[str, t.Any], bound: dict[str, bool], add: t.Sequence[str] = (), remove: t.Sequence[str] = ()
    ) -> Composed:
        """C(base) is the agent's base policy, C(chosen) the sandbox's C(policy); C(add) and C(remove) are presets for the whole fleet."""
        self._add(base.get("network_policies") or {}, f"the base policy of {self.agent}")
        for name, (access, source) in self._presets(chosen, add, remove).items():
            self._preset(name, access, source)
        for index, rule in enumerate(chosen.get("custom", [])):
            own = {key: value for key, value in rule.items() if key != "override"}
            made = expanded({rule["name"]: own}, self.programs, self.hosts or {})
            self._add(made, f"{self.where}.custom[{index}]", rule.get("override", False))
        policy = {**base, **self._static(base, chosen), "network_policies": self.rules}
        found = faults(policy, self.catalogue.schema) or list(bound_faults(self.rules, bound))
        self.problems += map(self._problem, found)
        return Composed(policy, self.notes, self.problems)

    def _presets(self, chosen: dict[str, t.Any], add: t.Sequence[str], remove: t.Sequence[str]) -> dict[str, tuple[str, str]]:
        """(access, the variable that names it) of each preset by name, in order. One of the tier alone is named by no variable."""
        tier = chosen["tier"]
        if tier not in self.catalogue.tiers:
            self.problems.append(Problem(f"{self.where}.tier", f"{tier!r} is no tier.", nearest(tier, self.catalogue.tiers)))
            tier = "restricted"
        found = {entry["name"]: (entry["access"], "") for entry in self.catalogue.tiers[tier]["presets"]}
        for index, entry in enumerate(chosen.get("presets", [])):
            name, access = (entry, "read-write") if isinstance(entry, str) else (entry["name"], entry.get("access", "read-write"))
            found.update(self._known(name, access, f"{self.where}.presets[{index}]"))
        for index, name in enumerate(chosen.get("remove", [])):
            if self._known(name, "", f"{self.where}.remove[{index}]"):
                found.pop(name, None)
        for index, name in enumerate(add):
            found.update(self._known(name, "read-write", f"nemoclaw_policy_add[{index}]"))
        for index, name in enumerate(remove):
            if self._known(name, "", f"nemoclaw_policy_remove[{index}]"):
                found.pop(name, None)
        return found

    def _known(self, name: str, access: str, variable: str) -> dict[str, tuple[str, str]]:
        if name in self.catalogue.names:
            return {name: (access, variable)}
        self.problems.append(Problem(variable, f"{name!r} is no preset.", nearest(name, self.catalogue.names)))
        return {}

    def _preset(self, name: str, access: str, source: str) -> None:
        """Add a preset's rules. What a tier has is left out where it does not fit; what the user named is a mistake then."""
        preset = self.catalogue.preset(name)
        rules = for_agent(preset, self.agent)
        if rules is None:
            if source.startswith(self.where):
                known = [other for other in self.catalogue.names if for_agent(self.catalogue.preset(other), self.agent) is not None]
                self.problems.append(Problem(source, f"the preset {name} is not for the agent {self.agent}.", nearest(name, known)))
            return
        unknown = sorted(entry for entry in package_sources(rules) if not (self.hosts or {}).get(entry))
        if unknown:
            if self.hosts is None:
                return
            hosts = ", ".join(unknown)
            if source:
                remedy = f"Set nemoclaw_package_hosts: {{{hosts}: [host, …]}}, or take the preset out."
                self.problems.append(Problem(source, f"the hosts of the preset {name} are not known: the host has no configuration of {hosts}.", remedy))
            else:
                self.notes.append(f"preset {name} left out: set nemoclaw_package_hosts.{hosts}")
            return
        made = expanded(rules, self.programs, self.hosts or {})
        self._add(read_only(made) if access == "read" else made, source or f"the preset {name}")

    def _add(self, rules: Rules, source: str, override: bool = False) -> None:
        for key, rule in rules.items():
            if key in self.rules and not override and self.rules[key] != rule:
                variable = source if source.startswith(self.where) else self.where
                problem = f"the rule {key} of {source} is there already, from {self.sources[key]}, and they differ."
                self.problems.append(Problem(variable, problem, "Give it another name, or set override: true on a rule of policy.custom."))
            self.rules[key], self.sources[key] = rule, source

    def _static(self, base: dict[str, t.Any], chosen: dict[str, t.Any]) -> dict[str, t.Any]:
        """What a sandbox is created with: the base's files and process with the user's."""
        files = dict(base.get("filesystem_policy", {}))
        for kind, paths in chosen.get("filesystem", {}).items():
            files[kind] = list(dict.fromkeys([*files.get(kind, []), *paths]))
        return {"filesystem_policy": files, "process": {**base.get("process", {}), **chosen.get("process", {})}}

    def _problem(self, fault: Fault) -> Problem:
        """A fault of the policy as a mistake in the variable that the place comes from."""
        variable, said = self.where, fault.problem if fault.problem.endswith(".") else f"{fault.problem}."
        if fault.path[:1] == ("network_policies",) and len(fault.path) > 1:
            source = self.sources[str(fault.path[1])]
            if source.startswith(f"{self.where}.custom"):
                return Problem(f"{source}.{dotted(fault.path[2:])}" if fault.path[2:] else source, said, fault.remedy)
            named = source.endswith("]")
            place = dotted(fault.path[1:])
            return Problem(source if named else variable, f"{place}: {said}" if named else f"{source}, {place}: {said}", fault.remedy)
        if fault.path[:1] == ("filesystem_policy",):
            return Problem(".".join([variable, "filesystem", *map(str, fault.path[1:2])]), said, fault.remedy)
        return Problem(f"{variable}.{dotted(fault.path)}" if fault.path else variable, said, fault.remedy)
