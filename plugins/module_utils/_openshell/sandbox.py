# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sandboxes: made from an image, healed before they are rebuilt, their files put in place. Private to the collection."""

from __future__ import annotations

import hashlib
import json
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import exec as inside
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell, OpenShellError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.fingerprints import Fingerprints
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.policy import Policy, policy_file
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

SPEC_LABEL = "nemoclaw.fleet/spec"
# seconds that a sandbox may take to come back by itself when its gateway has been started
PATIENCE = 30
# what only a new container can change
SPEC_FIELDS = ("image", "cpu", "memory", "cdi_devices", "mounts")
REBUILD_REMEDY = "Set nemoclaw_allow_rebuild: true to delete and create it again (the files in it are lost), or take the change back."


def spec(desired: dict[str, t.Any]) -> dict[str, t.Any]:
    """The part of a desired sandbox that is fixed at its creation."""
    return {key: desired[key] for key in SPEC_FIELDS if desired.get(key)}


def spec_digest(desired: dict[str, t.Any]) -> str:
    """A label's worth (32 hex digits) of C(spec)."""
    return hashlib.sha256(json.dumps(spec(desired), sort_keys=True).encode()).hexdigest()[:32]


def driver_config(desired: dict[str, t.Any]) -> dict[str, t.Any]:
    """The Docker driver's part: mounts, and GPUs by the names of their CDI devices."""
    found = {key: desired[key] for key in ("mounts", "cdi_devices") if desired.get(key)}
    return {"docker": found} if found else {}


class Sandbox(Resource):
    """C({name, image, policy, cpu, memory, mounts, cdi_devices, files, labels, rebuild, timeout}), C(timeout) in seconds.

    C(files) are C({path, content, mode, validate, validate_env}); C(start) brings a container back by the labels that OpenShell gave it.
    """

    kind = "sandbox"

    def __init__(self, desired: dict[str, t.Any], client: OpenShell, start: t.Callable[[dict[str, str]], bool] | None = None) -> None:
        super().__init__(desired)
        self.client = client
        self._start = start

    @property
    def _timeout(self) -> int:
        return self.desired.get("timeout") or 300

    @property
    def _files(self) -> list[dict[str, t.Any]]:
        return self.desired.get("files") or []

    def read(self) -> dict[str, t.Any]:
        found = self.client.find("sandbox", "get", self.name)
        if not found:
            return {}
        state = {"phase": found["phase"], "spec": found.get("labels", {}).get(SPEC_LABEL, "")}
        if state["phase"] == "Ready":
            state["files"] = self._read_files()
        if self.desired.get("rebuild"):
            policy = Policy({"sandbox": self.name, "policy": self.desired["policy"]}, self.client)
            state["policy"] = policy.static_changes(policy.read())
        return state

    def _read_files(self) -> dict[str, dict[str, str]]:
        """C({path, {content, mode}}) of the managed files that are there; contents are fetched only where they differ from the desired ones."""
        live = inside.digests(self.client, self.name, [entry["path"] for entry in self._files])
        wanted = {entry["path"]: entry["content"] for entry in self._files}
        same = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in wanted.items()}
        return {
            path: {"mode": found["mode"], "content": wanted[path] if found["sha256"] == same[path] else inside.content(self.client, self.name, path)}
            for path, found in live.items()
        }

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        if not state:
            return [self.change("state", "absent", "present"), self.change("image", None, self.desired["image"])]
        changes = self.spec_changes(state)
        if state["phase"] != "Ready":
            changes.append(self.change("phase", state["phase"], "Ready"))
        return changes + self._file_changes(state)

    def spec_changes(self, state: dict[str, t.Any]) -> list[Change]:
        """What takes a new container, by field where the last one made here is known; of the policy only where a rebuild is allowed."""
        if self.absent or not state:
            return []
        return [*self._spec_changes(state), *state.get("policy", [])]

    def _spec_changes(self, state: dict[str, t.Any]) -> list[Change]:
        if state["spec"] == spec_digest(self.desired):
            return []
        before = Fingerprints(self.client.account, self.client.gateway).records().get(f"sandbox/{self.name}", {}).get("spec", {})
        after = spec(self.desired)
        return [self.change(key, before.get(key), after.get(key)) for key in SPEC_FIELDS if before.get(key) != after.get(key)] or [
            self.change("spec", state["spec"], spec_digest(self.desired))
        ]

    def _file_changes(self, state: dict[str, t.Any]) -> list[Change]:
        live = state.get("files")
        if live is None:  # not running: cannot be read
            return []
        changes = []
        for entry in self._files:
            found = live.get(entry["path"], {})
            for key, value in (("content", entry["content"]), ("mode", entry.get("mode", "0600"))):
                if found.get(key) != value:
                    changes.append(Change(f"{self.kind}/{self.name}:{entry['path']}", key, found.get(key), value))
        return changes

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            self._delete()
            return
        if state and self.spec_changes(state):
            if not self.desired.get("rebuild"):
                fields = ", ".join(change.field for change in self.spec_changes(state))
                raise ResourceError(f"The sandbox {self.name} must be rebuilt: {fields} changed.", REBUILD_REMEDY)
            self._delete()
            state = {}
        if not state:
            self._create()
        elif state["phase"] != "Ready":
            self._revive(state["phase"])
        differing = {change.resource.partition(":")[2] for change in self._file_changes(self.read())}
        for entry in self._files:
            if entry["path"] in differing:
                inside.write(
                    self.client, self.name, entry["path"], entry["content"], entry.get("mode", "0600"), entry.get("validate"), entry.get("validate_env")
                )

    def _create(self) -> None:
        labels = {**(self.desired.get("labels") or {}), SPEC_LABEL: spec_digest(self.desired)}
        arguments = ["--name", self.name, "--from", self.desired["image"], "--no-auto-providers"]
        for key in ("cpu", "memory"):
            arguments += [f"--{key}", str(self.desired[key])] if self.desired.get(key) else []
        if self.desired.get("cdi_devices"):
            arguments += ["--gpu", str(len(self.desired["cdi_devices"]))]
        if driver_config(self.desired):
            arguments += ["--driver-config-json", json.dumps(driver_config(self.desired), sort_keys=True)]
        arguments += [word for key, value in sorted(labels.items()) for word in ("--label", f"{key}={value}")]
        with policy_file(self.desired["policy"]) as path:
            try:
                self.client.call(
                    "sandbox", "create", *arguments, "--policy", path, "-o", "json",
                    env={"OPENSHELL_PROVISION_TIMEOUT": str(self._timeout)}, timeout=2 * self._timeout, retry=False,
                )  # fmt: skip
            except OpenShellError as error:
                if error.kind != "already_exists":
                    self._remove_failed()
                raise
        Fingerprints(self.client.account, self.client.gateway).record(f"sandbox/{self.name}", spec_digest(self.desired), spec=spec(self.desired))

    def _remove_failed(self) -> None:
        """A failed create leaves a record in phase Error, which would be in the way of the next try."""
        found = self.client.find("sandbox", "get", self.name)
        if found and found["phase"] == "Error":
            self._delete()

    def _delete(self) -> None:
        self.client.call("sandbox", "delete", self.name, timeout=120)
        self._await(lambda found: not found, "be deleted")

    def _revive(self, phase: str) -> None:
        """Bring a sandbox back with its files: a stopped one by OpenShell, one in Error by starting its container.

        One that does not get on is treated so too: after new certificates, a container that was never stopped has the old ones.
        """
        if phase == "Stopped":
            self.client.call("sandbox", "start", self.name, timeout=self._timeout)
        elif phase == "Error" or not self._ready_within(PATIENCE):
            labels = {"managed-by": "openshell", "sandbox-namespace": self.client.gateway, "sandbox-name": self.name}
            if not self._start or not self._start({f"openshell.ai/{key}": value for key, value in labels.items()}):
                raise ResourceError(
                    f"The sandbox {self.name} is in phase {phase} and its container cannot be started.", f"See `openshell logs {self.name}`. {REBUILD_REMEDY}"
                )
        self._await(lambda found: bool(found) and found["phase"] == "Ready", "become Ready")

    def _ready_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not (ready := (self.client.find("sandbox", "get", self.name) or {}).get("phase") == "Ready") and time.monotonic() < deadline:
            time.sleep(0.3)
        return ready

    def _await(self, done: t.Callable[[t.Any], bool], aim: str) -> None:
        deadline = time.monotonic() + self._timeout
        while not done(found := self.client.find("sandbox", "get", self.name)):
            if time.monotonic() > deadline:
                phase = found["phase"] if found else "absent"
                raise ResourceError(f"The sandbox {self.name} did not {aim} within {self._timeout} s (phase: {phase}).", f"See `openshell logs {self.name}`.")
            time.sleep(0.3)
