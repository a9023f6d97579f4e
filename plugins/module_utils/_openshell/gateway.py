# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration of a gateway with its owner's command line, and whether it answers. Private to the collection."""

from __future__ import annotations

import http.client
import os
import pwd
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import owned
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.as_user import as_user
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import failure, restarts, systemctl
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.names import unit_name
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.versions import check_version
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

# file of the registration <- file of the gateway's own certificate directory
BUNDLE = {"ca.crt": "ca.crt", "tls.crt": "client/tls.crt", "tls.key": "client/tls.key"}


def read_bundle(directory: str) -> dict[str, str]:
    """The client's files of a registration that are there."""
    found = {name: owned.read(os.path.join(directory, "mtls", name)) for name in BUNDLE}
    return {name: data.decode("ascii", "replace") for name, data in found.items() if data is not None}


def write_bundle(directory: str, bundle: dict[str, str]) -> None:
    account = pwd.getpwuid(os.geteuid())
    for name, text in bundle.items():
        owned.write(os.path.join(directory, "mtls", name), text, account)


class Gateway(Resource):
    """C({name, endpoint, tls_dir, versions, health_port, timeout}): registered with the client's user, with the current client certificate, and connected.

    C(versions) is C({minimum, below}), the range of OpenShell that is understood; C(health_port) where the gateway says whether it is ready.
    """

    kind = "gateway"

    def __init__(self, desired: dict[str, t.Any], client: OpenShell) -> None:
        super().__init__(desired)
        self.client = client
        self._any = client.without_gateway()
        self._unit = unit_name(self.name, "gateway")

    @property
    def directory(self) -> str:
        """What the command line keeps of this gateway."""
        return os.path.join(self.client.home, ".config", "openshell", "gateways", self.name)

    def _wanted(self) -> dict[str, bytes | None]:
        return {name: owned.read(os.path.join(self.desired["tls_dir"], source)) for name, source in BUNDLE.items()}

    def _bundle_current(self) -> bool:
        wanted = {name: data.decode("ascii", "replace") for name, data in self._wanted().items() if data}
        return len(wanted) == len(BUNDLE) and as_user(self.client.account, read_bundle, self.directory) == wanted

    def read(self) -> dict[str, t.Any]:
        if not self.client.installed:
            return {}
        if self.desired.get("versions"):
            check_version(self.client.version(), **self.desired["versions"])
        entries = {entry["name"]: entry for entry in self._any.json("gateway", "list") if entry.get("source") == "user"}
        if self.name not in entries:
            return {}
        if self.absent:  # there may be no certificates any more, nor a word where they were
            return {"endpoint": entries[self.name]["endpoint"]}
        state = {"endpoint": entries[self.name]["endpoint"], "certificate": self._bundle_current(), "connected": self.client.connected()}
        return {**state, "ready": self._ready()} if "health_port" in self.desired else state

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        wanted = {"endpoint": self.desired["endpoint"], "certificate": True, "connected": True}
        return self.compare(state, {**wanted, "ready": True} if "health_port" in self.desired else wanted)

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            self._any.call("gateway", "remove", self.name)
            return
        if not self._bundle_current():
            bundle = self._wanted()
            if None in bundle.values():
                raise ResourceError(f"There are no certificates in {self.desired['tls_dir']}.", "Run the role nemoclaw.fleet.gateway, which makes them.")
            as_user(self.client.account, write_bundle, self.directory, {name: (data or b"").decode("ascii") for name, data in bundle.items()})
            if "health_port" in self.desired:  # the owner's: a forward goes on with the certificates that it began with, and would not be let in again
                systemctl("try-restart", f"{self.name}-forward@*.service", check=False)
        if state and state["endpoint"] != self.desired["endpoint"]:
            self._any.call("gateway", "remove", self.name)
        if state.get("endpoint") != self.desired["endpoint"]:
            self._any.call("gateway", "add", self.desired["endpoint"], "--local", "--name", self.name, retry=False)
        self.await_connected()

    def _ready(self) -> bool:
        """Whether the gateway says of itself that it is ready: one without its database, say, still takes connections."""
        connection = http.client.HTTPConnection("127.0.0.1", self.desired["health_port"], timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _good(self) -> bool:
        return self.client.connected() and ("health_port" not in self.desired or self._ready())

    def await_connected(self) -> None:
        """Wait for it; one that stays up and is not well after a third of the time is restarted, once."""
        began, before, timeout = time.time(), None, self.desired.get("timeout", 60)
        restarted = "health_port" not in self.desired
        while not self._good():
            now = restarts(self._unit)
            before = now if before is None else before
            if now > before + 2:
                raise failure(self._unit, began, f"The gateway {self.name} does not stay up.")
            if not restarted and time.time() > began + timeout / 3:
                systemctl("try-restart", self._unit, check=False)
                restarted = True
            if time.time() > began + timeout:
                raise failure(self._unit, began, f"The gateway {self.name} at {self.desired['endpoint']} is not ready for {self.client.owner}.")
            time.sleep(0.2)
