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

from ansible.module_utils.common.warnings import warn

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.client import EngineUnavailable, connect
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.docker_config import DockerConfig, HelperGone
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.registry import Registry
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.fingerprints import Fingerprints
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

STORES = ("none", "helper", "config")


class _OfUser(Resource):
    """What a user of the host has of registries: Docker's configuration, and a record of each login that was made here."""

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

    def _known(self) -> dict[str, t.Any] | None:
        """The records by registry; None where the user is not there (yet)."""
        try:
            pwd.getpwnam(self.desired["user"])
        except KeyError:
            return None
        return self._records.records()

    def _forget(self, registry: str, record: dict[str, t.Any]) -> None:
        """Take what was kept out of its store, with what names it there."""
        if helper := record.get("helper"):
            try:
                self._config.ask(helper, "erase", registry)
            except HelperGone as error:
                warn(f"{error.message} What it has kept of {registry} stays in its store.")
        if record["store"] != "none":
            self._config.without(registry)
        self._records.record(registry, None)


class Logins(_OfUser):
    """C({user, keep}): what was kept here for registries other than C(keep) goes; what others have kept for them stays."""

    kind = "logins"

    @property
    def name(self) -> str:
        return self.desired["user"]

    def read(self) -> dict[str, t.Any]:
        """The records that are not wanted, by registry."""
        return {registry: record for registry, record in (self._known() or {}).items() if registry not in self.desired["keep"]}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        return [Change(f"{Login.kind}/{registry}", "state", "logged in", "absent") for registry in sorted(state)]

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        for registry, record in state.items():
            self._forget(registry, record)


class Login(_OfUser):
    """C({registry, username, password, user, store, helper, state}); C(store) says where the credentials are kept on the host.

    That they were good is remembered as a keyed fingerprint, so that a second run asks nobody. Without a password (nobody gave one) they are not compared.
    """

    kind = "login"

    @property
    def name(self) -> str:
        return self.desired["registry"]

    @property
    def _given(self) -> list[str]:
        return [self.desired["username"], self.desired.get("password") or ""]

    def read(self) -> dict[str, t.Any]:
        """C({username, store, helper, current}), the latter for whether the store has the given credentials; absent, whether there are any."""
        known = self._known()
        if known is None:
            return {}
        record = known.get(self.name)
        if self.absent:
            return {"there": True} if record or self._config.login(self.name) else {}
        kept = self._kept()
        if not record or kept is None:
            return {}
        same = record["fingerprint"] == self._records.of(self._given) and kept in ({}, self._pair)
        return {**{key: record[key] for key in ("username", "store", "helper")}, "current": same or not self.desired.get("password")}

    @property
    def _pair(self) -> dict[str, str]:
        return dict(zip(("username", "password"), self._given))

    def _kept(self) -> dict[str, str] | None:
        """What the store holds: nothing where it is to hold nothing, None where something is missing."""
        store = self.desired["store"]
        if store == "config":
            return self._config.login(self.name) or None
        helper = self._helper
        if not helper:
            return {} if store == "none" else None
        answer = self._config.ask(helper, "get", self.name)
        return {"username": answer.get("Username", ""), "password": answer["Secret"]} if answer.get("Secret") else None  # pass answers empty ones too

    @property
    def _helper(self) -> str:
        """The helper that is to have them; empty where none is to, and where there is none."""
        return self._config.helper(self.name, self.desired.get("helper") or "") if self.desired["store"] == "helper" else ""

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "logged in", "absent")] if state else []
        if not state:
            return [self.change("state", "absent", f"logged in as {self.desired['username']}")]
        helper = {"helper": self.desired["helper"]} if self.desired["store"] == "helper" and self.desired.get("helper") else {}
        changes = self.compare(state, {"username": self.desired["username"], "store": self.desired["store"], **helper})
        if not state["current"]:
            changes.append(self.change("credentials", "other values", "the given values"))
        return changes

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        record = self._records.records().get(self.name)
        if self.absent:
            if record:
                self._forget(self.name, record)
            self._config.without(self.name)
            return
        if not self.desired.get("password"):
            raise ResourceError(f"There is no password for {self.name}.", "Give it; for nvcr.io it is an NGC API key.")
        try:
            info = connect().info()
        except EngineUnavailable:  # its proxies are not known then
            info = {}
        Registry(self.name, self.desired["username"], self.desired["password"], info).check()
        helper = self._helper
        if self.desired["store"] == "helper" and not helper:
            remedy = "Install one, such as docker-credential-pass of golang-docker-credential-helpers, or choose the store none or config."
            raise ResourceError(f"The user {self.desired['user']} has no credential helper (docker-credential-…).", remedy)
        if record and (record["store"], record["helper"]) != (self.desired["store"], helper):
            self._forget(self.name, record)
        self._keep(helper)
        self._records.record(self.name, self._given, username=self.desired["username"], store=self.desired["store"], helper=helper)

    def _keep(self, helper: str) -> None:
        """Put the credentials into the store."""
        config = self._config.read() if self.desired["store"] != "none" else {}
        if helper:
            username, secret = self._given
            self._config.ask(helper, "store", json.dumps({"ServerURL": self.name, "Username": username, "Secret": secret}))
            if config.get("credsStore") != helper:
                self._config.write({**config, "credHelpers": {**(config.get("credHelpers") or {}), self.name: helper}})
        elif self.desired["store"] == "config":
            configured = config.get("credsStore") or (config.get("credHelpers") or {}).get(self.name)
            if configured:
                raise ResourceError(f"{self._config.path} has Docker keep credentials of {self.name} in {configured}.", "Choose the store helper.")
            auth = base64.b64encode(":".join(self._given).encode()).decode()
            self._config.write({**config, "auths": {**(config.get("auths") or {}), self.name: {"auth": auth}}})
