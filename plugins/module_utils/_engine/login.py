# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of a registry for a user of the host. Private to the collection."""

from __future__ import annotations

import base64
import functools
import json
import pwd
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.client import EngineUnavailable, connect
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.docker_config import DockerConfig
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.registry import Registry
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.fingerprints import Fingerprints
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

STORES = ("none", "helper", "config")


class Login(Resource):
    """C({registry, username, password, user, store, helper, state, ours}); C(store) says where the credentials are kept on the host.

    Absent and C(ours), those that somebody else has kept stay.

    That they were good is remembered as a keyed fingerprint, so that a second run asks nobody. Without a password (nobody gave one) they are not compared.
    """

    kind = "login"

    @property
    def name(self) -> str:
        return self.desired["registry"]

    @functools.cached_property
    def _account(self) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(self.desired["user"])
        except KeyError:
            raise ResourceError(f"{self.desired['user']!r} is no user of this host.", "Make the user first.") from None

    @property
    def _config(self) -> DockerConfig:
        return DockerConfig(self._account)

    @property
    def _records(self) -> Fingerprints:
        return Fingerprints(self._account, "registries")

    @property
    def _given(self) -> list[str]:
        return [self.desired["username"], self.desired.get("password") or ""]

    def read(self) -> dict[str, t.Any]:
        """C({username, store, kept, current}); C(kept) is whether the store has the credentials, C(current) whether they are the given ones."""
        try:
            pwd.getpwnam(self.desired["user"])
        except KeyError:
            return {}
        record = self._records.records().get(self.name) or {}
        if self.absent:
            found = {"record": bool(record), "config": not self.desired.get("ours") and bool(self._config.login(self.name))}
            return {key: value for key, value in found.items() if value}
        kept = self._kept()
        if not record or kept is None:
            return {}
        same = record["fingerprint"] == self._records.of(self._given) and kept in ({}, self._pair)
        return {"username": record["username"], "store": record["store"], "current": same or not self.desired.get("password")}

    @property
    def _pair(self) -> dict[str, str]:
        return dict(zip(("username", "password"), self._given))

    def _kept(self) -> dict[str, str] | None:
        """What the store holds: nothing where it is to hold nothing, None where something is missing."""
        store = self.desired["store"]
        if store == "config":
            return self._config.login(self.name) or None
        helper = self._config.helper(self.name, self.desired.get("helper") or "") if store == "helper" else ""
        if not helper:
            return {} if store == "none" else None
        answer = self._config.ask(helper, "get", self.name)
        return {"username": answer.get("Username", ""), "password": answer["Secret"]} if answer.get("Secret") else None  # pass answers empty ones too

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "logged in", "absent")] if state else []
        if not state:
            return [self.change("state", "absent", f"logged in as {self.desired['username']}")]
        changes = self.compare(state, {"username": self.desired["username"], "store": self.desired["store"]})
        if not state["current"]:
            changes.append(self.change("credentials", "other values", "the given values"))
        return changes

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        record = self._records.records().get(self.name) or {}
        if self.absent:
            self._forget(record.get("store") or "config", record.get("helper", ""))
            self._records.record(self.name, None)
            return
        if not self.desired.get("password"):
            raise ResourceError(f"There is no password for {self.name}.", "Give it; for nvcr.io it is an NGC API key.")
        try:
            info = connect().info()
        except EngineUnavailable:  # its proxies are not known then
            info = {}
        Registry(self.name, self.desired["username"], self.desired["password"], info).check()
        if record and record["store"] != self.desired["store"]:
            self._forget(record["store"], record.get("helper", ""))
        helper = self._keep()
        self._records.record(self.name, self._given, username=self.desired["username"], store=self.desired["store"], helper=helper)

    def _keep(self) -> str:
        """Put the credentials into the store; the name of the helper, where that is one."""
        if self.desired["store"] == "none":
            return ""
        config = self._config.read()
        if self.desired["store"] == "config":
            helper = self._config.helper(self.name) if config.get("credsStore") or (config.get("credHelpers") or {}).get(self.name) else ""
            if helper:
                raise ResourceError(f"{self._config.path} has Docker keep credentials of {self.name} in {helper}.", "Choose the store helper.")
            auth = base64.b64encode(":".join(self._given).encode()).decode()
            self._config.write({**config, "auths": {**(config.get("auths") or {}), self.name: {"auth": auth}}})
            return ""
        helper = self._config.helper(self.name, self.desired.get("helper") or "")
        if not helper:
            remedy = "Install one, such as docker-credential-pass of golang-docker-credential-helpers, or choose the store none or config."
            raise ResourceError(f"The user {self.desired['user']} has no credential helper (docker-credential-…).", remedy)
        username, secret = self._given
        self._config.ask(helper, "store", json.dumps({"ServerURL": self.name, "Username": username, "Secret": secret}))
        if config.get("credsStore") != helper:
            self._config.write({**config, "credHelpers": {**(config.get("credHelpers") or {}), self.name: helper}})
        return helper

    def _forget(self, store: str, helper: str) -> None:
        """Take the credentials out of a store, and what names it there."""
        if store == "helper" and helper:
            self._config.ask(helper, "erase", self.name)
        if store != "none":
            self._config.without(self.name)
