# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge network of the engine. Private to the collection."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.client import EngineUnavailable, connect, translated
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError


class Network(Resource):
    """C({name, subnet, labels}); the subnet as CIDR. Its first address is the host's."""

    kind = "network"

    def read(self) -> dict[str, t.Any]:
        try:
            engine = connect()
        except EngineUnavailable:  # applying says what is wrong
            return {}
        found = next((n for n in engine.networks(names=[self.name]) if n["Name"] == self.name), None)
        if found is None:
            return {}
        pools = (found.get("IPAM") or {}).get("Config") or []
        return {"subnet": pools[0].get("Subnet") if pools else None}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        return self.compare(state, {"subnet": self.desired["subnet"]})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        engine = connect()
        if state:
            used = sorted(c["Name"] for c in engine.inspect_network(self.name)["Containers"].values())
            if used:
                raise ResourceError(
                    f"The network {self.name} must be {'removed' if self.absent else 'replaced'}, but {', '.join(used)} use it.",
                    "Stop those containers, or set nemoclaw_gateway.subnet to the network's own subnet.",
                )
            engine.remove_network(self.name)
        if not self.absent:
            # OpenShell's gateway wants the host's address named
            first = str(next(ipaddress.ip_network(self.desired["subnet"]).hosts()))
            ipam = {"Driver": "default", "Config": [{"Subnet": self.desired["subnet"], "Gateway": first}]}
            with translated(f"The network {self.name} with the subnet {self.desired['subnet']} cannot be made", "Choose a free one (nemoclaw_gateway.subnet)."):
                engine.create_network(self.name, driver="bridge", ipam=ipam, labels=self.desired.get("labels") or {}, attachable=True)
