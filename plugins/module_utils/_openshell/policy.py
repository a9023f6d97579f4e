# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies of live sandboxes: compared by meaning, changed where they can be changed live. Private to the collection."""

from __future__ import annotations

import json
import os
import re
import tempfile
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell, OpenShellError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.policy_opens import PROVIDER_RULES, Opening, lines, openings
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

PATHS = ("read_only", "read_write")
NOT_LOADED = "failed to load"
# what a sandbox adds to its own policy by itself: what its programs, its proxy and its GPUs need
ADDED = re.compile(r"/(usr|usr/lib/wsl|lib|etc|app|tmp|proc|var/log|run/nvidia-persistenced|dev/(urandom|dxg|nvidia.*))")


def rules(policy: dict[str, t.Any]) -> dict[str, t.Any]:
    """The network rules in one form: defaults dropped, C(port) as C(ports), order of lists without meaning gone."""

    def endpoint(entry: dict[str, t.Any]) -> dict[str, t.Any]:
        kept = {key: value for key, value in entry.items() if value not in (None, "", [], {}, False) and key != "port"}
        ports = entry.get("ports") or ([entry["port"]] if entry.get("port") else [])
        return {**kept, "ports": sorted(ports)}

    def rule(entry: dict[str, t.Any]) -> dict[str, t.Any]:
        endpoints = sorted((endpoint(e) for e in entry.get("endpoints") or []), key=lambda e: json.dumps(e, sort_keys=True))
        return {"endpoints": endpoints, "binaries": sorted(b["path"] if isinstance(b, dict) else b for b in entry.get("binaries") or [])}

    return {key: rule(entry) for key, entry in (policy.get("network_policies") or {}).items() if not key.startswith(PROVIDER_RULES)}


def filesystem(policy: dict[str, t.Any]) -> dict[str, t.Any]:
    section = policy.get("filesystem_policy") or {}
    return {"include_workdir": bool(section.get("include_workdir")), **{key: sorted(section.get(key) or []) for key in PATHS}}


def merged(desired: dict[str, t.Any], live: dict[str, t.Any]) -> dict[str, t.Any]:
    """The policy to set on a live sandbox: the desired one, with the paths that the supervisor added (it refuses to lose any)."""
    section = dict(desired.get("filesystem_policy") or {})
    for key in PATHS:
        wanted = section.get(key) or []
        section[key] = wanted + [path for path in (live.get("filesystem_policy") or {}).get(key) or [] if path not in wanted]
    return {**desired, "filesystem_policy": section}


class RuleChange(Change):
    """A change of one network rule. C(opens) and C(closes) count against the whole policies: what another rule opens too is neither."""

    opens: list[Opening]
    closes: list[Opening]

    @classmethod
    def between(cls, change: Change, before: dict[str, t.Any], after: dict[str, t.Any]) -> RuleChange:
        found = cls(*change)
        old, new = ({"network_policies": {"rule": rule or {}}} for rule in (change.before, change.after))
        found.opens, found.closes = sorted(openings(new) - openings(before)), sorted(openings(old) - openings(after))
        return found

    def as_dict(self) -> dict[str, t.Any]:
        return {**super().as_dict(), "opens": [one.as_dict() for one in self.opens], "closes": [one.as_dict() for one in self.closes]}

    def shown(self) -> tuple[t.Any, t.Any]:
        if not self.opens and not self.closes:
            return super().shown()
        return "\n".join(f"closes {line}" for line in lines(self.closes)), "\n".join(f"opens {line}" for line in lines(self.opens))

    def __str__(self) -> str:
        if not self.opens and not self.closes:
            return super().__str__()
        said = [f"opens {line}" for line in lines(self.opens)] + [f"closes {line}" for line in lines(self.closes)]
        return f"{self.resource} {self.field}: {'; '.join(said)}"


class Policy(Resource):
    """C({sandbox, policy, timeout}): C(policy) is a whole policy as OpenShell's schema has it, C(timeout) in seconds."""

    kind = "policy"

    def __init__(self, desired: dict[str, t.Any], client: OpenShell) -> None:
        super().__init__(desired)
        self.client = client

    @property
    def name(self) -> str:
        return self.desired["sandbox"]

    def read(self) -> dict[str, t.Any]:
        found = self.client.find("policy", "get", self.name, "--base")
        return (found or {}).get("policy") or {}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        """All differences, those that take a rebuild (C(static_changes)) last."""
        desired = self.desired["policy"]
        before, after = rules(state), rules(desired)
        changes: list[Change] = [
            RuleChange.between(self.change(f"network_policies.{key}", before.get(key), after.get(key)), state, desired)
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]
        for key in PATHS:
            missing = [path for path in filesystem(desired)[key] if path not in filesystem(state)[key]]
            if missing:
                changes.append(self.change(f"filesystem_policy.{key}", [], missing))
        return changes + self.static_changes(state)

    def static_changes(self, state: dict[str, t.Any]) -> list[Change]:
        """Differences that OpenShell applies at the start of a sandbox only."""
        desired = self.desired["policy"]
        if not state:
            return []
        changes = [
            self.change(key, state.get(key) or {}, desired.get(key) or {})
            for key in ("landlock", "process")
            if (state.get(key) or {}) != (desired.get(key) or {})
        ]
        if filesystem(state)["include_workdir"] != filesystem(desired)["include_workdir"]:
            changes.append(self.change("filesystem_policy.include_workdir", filesystem(state)["include_workdir"], filesystem(desired)["include_workdir"]))
        for key in PATHS:
            lost = [path for path in filesystem(state)[key] if path not in filesystem(desired)[key] and not ADDED.fullmatch(path)]
            if lost:
                changes.append(self.change(f"filesystem_policy.{key}", lost, []))
        return changes

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        static = self.static_changes(state)
        if static:
            fields = ", ".join(change.field for change in static)
            raise ResourceError(
                f"The policy of the sandbox {self.name} differs in {fields}, which a running sandbox cannot change.", "It takes a rebuild of the sandbox."
            )
        timeout = self.desired.get("timeout") or 120
        try:
            self._set(merged(self.desired["policy"], state), timeout)
        except OpenShellError as error:
            if error.rc == 124:
                raise ResourceError(
                    f"The policy of the sandbox {self.name} was stored, but the sandbox did not load it within {timeout} s.",
                    f"See `openshell logs {self.name}`; run again once the sandbox is Ready.",
                ) from None
            if NOT_LOADED not in error.message:
                raise
            # it stays the stored one, nothing is let through, and setting it again would be "unchanged"
            self._set(state, timeout)
            reason = error.message.partition(NOT_LOADED)[2].strip(" :")
            raise ResourceError(f"The sandbox {self.name} cannot load its policy: {reason}.", "Correct the rule. The policy before was put back.") from None

    def _set(self, policy: dict[str, t.Any], timeout: int) -> None:
        with policy_file(policy) as path:
            self.client.call("policy", "set", self.name, "--policy", path, "--wait", "--timeout", str(timeout), timeout=timeout + 15)


class policy_file:
    """A policy as a temporary file that the owner can read. It is JSON, which is YAML."""

    def __init__(self, policy: dict[str, t.Any]) -> None:
        self._policy = policy

    def __enter__(self) -> str:
        descriptor, self._path = tempfile.mkstemp(prefix="nemoclaw-policy-", suffix=".yaml")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(self._policy, stream, sort_keys=True)
        os.chmod(self._path, 0o644)  # read by the owner; a policy is no secret
        return self._path

    def __exit__(self, *unused: t.Any) -> None:
        os.unlink(self._path)
