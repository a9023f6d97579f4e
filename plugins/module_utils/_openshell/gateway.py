# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration of a gateway with its owner's command line, and whether it answers. Private to the collection."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import owned
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import failure, restarts
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.versions import check_version
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

# file of the registration <- file of the gateway's own certificate directory
BUNDLE = {"ca.crt": "ca.crt", "tls.crt": "client/tls.crt", "tls.key": "client/tls.key"}


class Gateway(Resource):
    """C({name, endpoint, tls_dir, versions, timeout}): registered under the name with the current client certificate, and connected.

    C(versions) is C({minimum, below}), the range of OpenShell that is understood.
    """

    kind = "gateway"

    def __init__(self, desired: dict[str, t.Any], client: OpenShell) -> None:
        super().__init__(desired)
        self.client = client
        self._any = client.without_gateway()

    def _bundle_dir(self) -> str:
        return os.path.join(self.client.home, ".config", "openshell", "gateways", self.name, "mtls")

    def _bundle_current(self) -> bool:
        wanted = {name: owned.read(os.path.join(self.desired["tls_dir"], source)) for name, source in BUNDLE.items()}
        return None not in wanted.values() and all(owned.read(os.path.join(self._bundle_dir(), name)) == data for name, data in wanted.items())

    def read(self) -> dict[str, t.Any]:
        if not self.client.installed:
            return {}
        if self.desired.get("versions"):
            check_version(self.client.version(), **self.desired["versions"])
        entries = {entry["name"]: entry for entry in self._any.json("gateway", "list") if entry.get("source") == "user"}
        if self.name not in entries:
            return {}
        return {"endpoint": entries[self.name]["endpoint"], "certificate": self._bundle_current(), "connected": self.client.connected()}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        return self.compare(state, {"endpoint": self.desired["endpoint"], "certificate": True, "connected": True})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            self._any.call("gateway", "remove", self.name)
            return
        self._await_certificates()
        if not self._bundle_current():
            for name, source in BUNDLE.items():
                owned.write(os.path.join(self._bundle_dir(), name), owned.read(os.path.join(self.desired["tls_dir"], source)) or b"", self.client.account)
        if state and state["endpoint"] != self.desired["endpoint"]:
            self._any.call("gateway", "remove", self.name)
        if state.get("endpoint") != self.desired["endpoint"]:
            self._any.call("gateway", "add", self.desired["endpoint"], "--local", "--name", self.name, retry=False)
        self.await_connected()

    def _await_certificates(self) -> None:
        deadline = time.monotonic() + self.desired.get("timeout", 60)
        while not all(os.path.isfile(os.path.join(self.desired["tls_dir"], source)) for source in BUNDLE.values()):
            if time.monotonic() > deadline:
                raise ResourceError(
                    f"There are no certificates in {self.desired['tls_dir']}.", f"See `journalctl -u {self.name}-gateway`: the gateway makes them at its start."
                )
            time.sleep(0.2)

    def await_connected(self) -> None:
        unit, began, before = f"{self.name}-gateway.service", time.time(), None
        while not self.client.connected():
            now = restarts(unit)
            before = now if before is None else before
            if now > before + 2:
                raise failure(unit, began, f"The gateway {self.name} does not stay up.")
            if time.time() > began + self.desired.get("timeout", 60):
                raise failure(unit, began, f"The gateway {self.name} at {self.desired['endpoint']} does not accept its owner.")
            time.sleep(0.2)
