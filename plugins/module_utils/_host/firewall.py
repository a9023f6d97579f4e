# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sandboxes send to ports of the host passes its firewall. Private to the collection."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.command import call
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import UNIT_DIR, Unit
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import firewall, network
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.facts import unit_states
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

TABLES = 8  # that may stand in the way one behind the other
UFW_RULES = "/etc/ufw/user.rules"
UNIT = """\
# Made by nemoclaw.fleet: lets the sandboxes of the gateway {name} through to ports of the host.
[Unit]
Description=Way for the sandboxes of {name} through the firewall
After=nftables.service netfilter-persistent.service iptables.service network-pre.target
PartOf=nftables.service netfilter-persistent.service
ReloadPropagatedFrom=nftables.service netfilter-persistent.service

[Service]
Type=oneshot
RemainAfterExit=yes
{starts}{reloads}
[Install]
WantedBy=multi-user.target
"""


class Firewall(Resource):
    """C({name, subnet, address, ports}): connections from the subnet to each port of the host's address on it are let through.

    Whoever administers the firewall gets a rule (ufw, firewalld); rules of nobody (nftables, iptables) get one by a unit, at every boot.
    """

    kind = "firewall"

    def read(self) -> dict[str, t.Any]:
        """C(made) is what this collection has made; C(ports) what becomes of a connection; C(blocked) where it ends."""
        host = Host()
        interface = next((name for name, address in network.addresses().items() if address == self.desired["address"]), "")
        commands = {
            **firewall.commands(host),
            "units": [host.which("systemctl"), "show", "-p", "Id,LoadState,ActiveState,UnitFileState", "firewalld", "nftables"],
        }
        outcomes = dict(zip(commands, host.run(*commands.values(), timeout=20)))
        packets = [firewall.Packet(self.desired["subnet"], self.desired["address"], port, interface) for port in self.desired["ports"]]
        found = firewall.read(host, packets, outcomes, unit_states(outcomes["units"].stdout))
        return {
            "manager": found["manager"],
            "ports": {str(one["port"]): one["verdict"] for one in found["ports"]},
            "blocked": [one for one in found["ports"] if one["verdict"] == "drop"],
            "made": self._made(host, found["manager"]),
        }

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state["made"] else []
        return [self.change(f"port {one['port']}", "dropped", "accepted") for one in state["blocked"]]

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            self._remove(state["manager"])
            return
        for _table in range(TABLES):
            if not state["blocked"]:
                return
            self._allow(state["manager"], state["blocked"])
            state = self.read()
        ports = ", ".join(str(one["port"]) for one in state["blocked"])
        remedy = f"Let {self.desired['subnet']} through to {self.desired['address']} by hand; 'nft list ruleset' shows chain {state['blocked'][0]['chain']}."
        raise ResourceError(f"The firewall still drops what sandboxes send to port {ports}.", remedy)

    @property
    def comment(self) -> str:
        """Without a blank: neither nft nor a unit needs quotes around it."""
        return f"nemoclaw.fleet-{self.name}"

    @property
    def unit(self) -> str:
        return f"nemoclaw-firewall-{self.name}.service"

    def _ufw(self, port: int) -> list[str]:
        return ["allow", "in", "proto", "tcp", "from", self.desired["subnet"], "to", self.desired["address"], "port", str(port)]

    def _rich(self, port: int) -> str:
        where = f'source address="{self.desired["subnet"]}" destination address="{self.desired["address"]}"'
        return f'rule family="ipv4" {where} port port="{port}" protocol="tcp" accept'

    def _made(self, host: Host, manager: str) -> bool:
        if manager == "ufw":
            return self.comment.encode().hex() in host.text(UFW_RULES)
        if manager == "firewalld":
            rules = call("firewall-cmd", "--permanent", "--list-rich-rules").splitlines()
            return any(self._rich(port) in rules for port in self.desired["ports"])
        return os.path.exists(f"{UNIT_DIR}/{self.unit}")

    def _allow(self, manager: str, blocked: list[dict[str, t.Any]]) -> None:
        if manager == "ufw":
            for one in blocked:
                call("ufw", *self._ufw(one["port"]), "comment", self.comment)
        elif manager == "firewalld":
            for one in blocked:
                call("firewall-cmd", "--permanent", f"--add-rich-rule={self._rich(one['port'])}")
                call("firewall-cmd", f"--add-rich-rule={self._rich(one['port'])}")
        else:
            lines = [line for one in blocked for line in [" ".join(self._insert(one))] if line not in self._lines()]
            content = self._content([*self._lines(), *lines])
            Unit({"name": self.unit, "content": content}).apply({}, [self.change("content", "", content), self.change("enabled", False, True)])

    def _insert(self, one: dict[str, t.Any]) -> list[str]:
        """The command that puts a rule before all others of the base chain that drops; at a boot without that chain its failure is none."""
        source, address, port = self.desired["subnet"], self.desired["address"], str(one["port"])
        host = Host()
        if one["table"].startswith("iptables"):
            match = ["-p", "tcp", "-s", source, "-d", address, "--dport", port, "-m", "comment", "--comment", self.comment, "-j", "ACCEPT"]
            return [f"-{host.which(one['table'])}", "-I", one["base"], *match]
        match = ["ip", "saddr", source, "ip", "daddr", address, "tcp", "dport", port, "accept", "comment", self.comment]
        return [f"-{host.which('nft')}", "insert", "rule", *one["table"].split(), one["base"], *match]

    def _content(self, commands: list[str]) -> str:
        starts, reloads = ("".join(f"{key}={command}\n" for command in commands) for key in ("ExecStart", "ExecReload"))
        return UNIT.format(name=self.name, starts=starts, reloads=reloads)

    def _lines(self) -> list[str]:
        """The commands of the unit that is there."""
        return [line.partition("=")[2] for line in Host().text(f"{UNIT_DIR}/{self.unit}").splitlines() if line.startswith("ExecStart=")]

    def _remove(self, manager: str) -> None:
        if manager == "ufw":
            for port in self.desired["ports"]:
                call("ufw", "delete", *self._ufw(port))
        elif manager == "firewalld":
            for port in self.desired["ports"]:
                call("firewall-cmd", "--permanent", f"--remove-rich-rule={self._rich(port)}")
                call("firewall-cmd", f"--remove-rich-rule={self._rich(port)}")
        else:
            self._delete_rules()
            Unit({"name": self.unit, "state": "absent"}).apply({}, [])

    def _delete_rules(self) -> None:
        """The rules in the kernel that carry our comment."""
        host = Host()
        if host.which("nft"):
            for entry in json.loads(call("nft", "-j", "list", "ruleset") or "{}").get("nftables", []):
                rule = entry.get("rule", {})
                if rule.get("comment") == self.comment:
                    call("nft", "delete", "rule", rule["family"], rule["table"], rule["chain"], "handle", str(rule["handle"]))
        for words in (line.lstrip("-").split() for line in self._lines()):
            if "-I" in words:
                delete = ["-D" if word == "-I" else word for word in words]
                while host.run(delete)[0].rc == 0:  # it is there once for every start of the unit
                    continue
