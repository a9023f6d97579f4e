# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sandboxes: made from an image, healed before they are rebuilt, their files put in place. Private to the collection."""

from __future__ import annotations

import hashlib
import json
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import stopped
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import exec as inside
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell, OpenShellError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.fingerprints import Fingerprints
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.policy import Policy, policy_file
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.snapshot import Snapshot
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

SPEC_LABEL = "nemoclaw.fleet/spec"
# seconds that a sandbox may take to come back by itself when its gateway has been started
PATIENCE = 30
# what only a new container can change
SPEC_FIELDS = ("image", "cpu", "memory", "cdi_devices", "mounts")
REBUILD_REMEDY = "Set nemoclaw_allow_rebuild: true to make it anew (its files are carried over), or take the change back."
NAME_LENGTH = 19
# of the sandbox that is tried beside one that is rebuilt
TRIAL, TRIAL_LABEL = "-new", "nemoclaw.fleet/instead-of"


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

    C(files) are C({path, content, mode, validate, validate_env}); C(unit) runs in the sandbox; C(start) brings a container back by the labels that
    OpenShell gave it; C(snapshot) carries what else is in its home over to another one.
    """

    kind = "sandbox"

    def __init__(
        self, desired: dict[str, t.Any], client: OpenShell, start: t.Callable[[dict[str, str]], bool] | None = None, snapshot: Snapshot | None = None
    ) -> None:
        super().__init__(desired)
        self.client = client
        self._start = start
        self._snapshot = snapshot

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
            if self._snapshot:
                self._snapshot.drop()
            return
        if state and self.spec_changes(state):
            if not self.desired.get("rebuild"):
                fields = ", ".join(change.field for change in self.spec_changes(state))
                raise ResourceError(f"The sandbox {self.name} must be rebuilt: {fields} changed.", REBUILD_REMEDY)
            with stopped(self.desired.get("unit")):
                self._rebuild()
                self._fill()
            return
        if not state:
            self._create()
        elif state["phase"] != "Ready":
            self._revive(state["phase"])
        self._fill()

    def _rebuild(self) -> None:
        """Another sandbox in the place of this one. It is tried beside it, with its files; until that works, nothing happens to this one."""
        if self._snapshot:
            self._snapshot.take()
            self._try(self._snapshot)
        self._delete()
        self._create()

    def _try(self, snapshot: Snapshot) -> None:
        name = f"{self.name[: NAME_LENGTH - len(TRIAL)].rstrip('-')}{TRIAL}"
        labels = {**(self.desired.get("labels") or {}), TRIAL_LABEL: self.name}
        trial = Sandbox({**self.desired, "name": name, "labels": labels, "rebuild": False}, self.client)
        if found := self.client.find("sandbox", "get", name):
            if found.get("labels", {}).get(TRIAL_LABEL) != self.name:
                raise ResourceError(f"To rebuild {self.name}, another one is tried as {name}, and there is such a sandbox.", f"Delete or rename {name}.")
            trial._delete()
        try:
            trial._create()
            if snapshot.exists:
                snapshot.restore(name)
            trial._write_files()
        except ResourceError as error:
            if not snapshot.pending:
                snapshot.drop()
            said = f"The sandbox {self.name} is as it was; another one in its place does not work: {error.message}"
            raise ResourceError(said, error.remedy) from error
        finally:
            if self.client.find("sandbox", "get", name):
                trial._delete()

    def _fill(self) -> None:
        """What was kept goes into a new sandbox, also after a rebuild that was interrupted; then the files of the plan."""
        if self._snapshot:
            if self._snapshot.pending:
                self._snapshot.restore(self.name)
            self._snapshot.drop()
        self._write_files()

    def _write_files(self) -> None:
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
                with Progress(f"sandbox {self.name}").waiting("is made", self._timeout):
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
        Fingerprints(self.client.account, self.client.gateway).record(f"sandbox/{self.name}", None)

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
        progress, began = Progress(f"sandbox {self.name}"), time.monotonic()
        while not done(found := self.client.find("sandbox", "get", self.name)):
            phase = found["phase"] if found else "absent"
            progress.waited(f"phase {phase}, is to {aim}", began, self._timeout)
            if time.monotonic() > began + self._timeout:
                raise ResourceError(f"The sandbox {self.name} did not {aim} within {self._timeout} s (phase: {phase}).", f"See `openshell logs {self.name}`.")
            time.sleep(0.3)
