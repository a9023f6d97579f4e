# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Providers of the gateway: the endpoint and the credentials of a model or a tool. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import secret_file
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.fingerprints import Fingerprints
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError


class Provider(Resource):
    """C({name, type, config, credentials, credential_files}): credentials map the gateway's key to the value, files to the path of one that holds it.

    The gateway never gives values back. What was last written is kept on the host: the configuration as it is, the credentials as a keyed fingerprint,
    both with the version the gateway counted. A version that moved without us is somebody's manual change, and is put right.
    """

    kind = "provider"

    def __init__(self, desired: dict[str, t.Any], client: OpenShell) -> None:
        super().__init__(desired)
        self.client = client

    @property
    def _store(self) -> Fingerprints:
        return Fingerprints(self.client.account, self.client.gateway)

    @property
    def _credentials(self) -> dict[str, str]:
        files = self.desired.get("credential_files") or {}
        return {**(self.desired.get("credentials") or {}), **{key: secret_file.read(path) for key, path in files.items()}}

    @property
    def _record_name(self) -> str:
        return f"provider/{self.name}"

    def read(self) -> dict[str, t.Any]:
        entry = next((p for p in self.client.json("provider", "list") if p["name"] == self.name), None)
        if entry is None:
            return {}
        record = self._store.records().get(self._record_name, {})
        return {
            "type": entry["type"],
            "config": record.get("config"),
            "credential_keys": sorted(entry.get("credential_keys", [])),
            "credentials_current": bool(record) and record["fingerprint"] == self._store.of(self._credentials),
            "changed_by_others": record.get("resource_version") != entry["resource_version"],
        }

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        wanted = {"type": self.desired["type"], "config": self.desired.get("config") or {}, "credential_keys": sorted(self._credentials)}
        changes = self.compare(state, wanted)
        if state and not changes and not state["credentials_current"]:
            changes.append(self.change("credentials", "other values", "the given values"))
        if state and not changes and state["changed_by_others"]:
            changes.append(self.change("managed", "changed outside the fleet", "as planned"))
        return changes

    def _where(self, key: str) -> str:
        path = (self.desired.get("credential_files") or {}).get(key)
        return f"{path} is to hold it: run onboard.yml." if path else "Set it in nemoclaw_credentials."

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        credentials = self._credentials
        empty = [key for key, value in credentials.items() if not value]
        if empty and not self.absent:
            raise ResourceError(f"The provider {self.name} has no value for its credential {', '.join(empty)}.", self._where(empty[0]))
        if self.absent or (state and state["type"] != self.desired["type"]):
            self.client.call("provider", "delete", self.name)
            self._store.record(self._record_name, None)
            state = {}
        if self.absent:
            return
        arguments = [word for key in sorted(credentials) for word in ("--credential", key)]
        config = self.desired.get("config") or {}
        # a key with an empty value is deleted by the gateway
        gone = {key: "" for key in (state.get("config") or {}) if key not in config}
        arguments += [word for key, value in sorted({**gone, **config}.items()) for word in ("--config", f"{key}={value}")]
        verb = ["update", self.name] if state else ["create", "--name", self.name, "--type", self.desired["type"]]
        self.client.call("provider", *verb, *arguments, env=credentials, retry=bool(state))
        entry = next(p for p in self.client.json("provider", "list") if p["name"] == self.name)
        self._store.record(self._record_name, credentials, config=config, resource_version=entry["resource_version"])
