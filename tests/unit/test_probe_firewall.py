# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection from a sandbox, followed through rules that ufw, firewalld, nftables and Docker made on hosts of the test bed (captures/firewall)."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import firewall
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.firewall import Packet
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host, Outcome

CAPTURES = pathlib.Path(__file__).parent / "captures" / "firewall"
PACKET = Packet("172.30.200.0/24", "172.30.200.1", 8080)


def shown(name, tool):
    return {tool: Outcome(0, (CAPTURES / name).read_text(), "")}


@pytest.mark.parametrize(
    ("name", "tool", "packet", "chain"),
    [
        ("ufw.txt", "iptables", PACKET, "INPUT"),
        ("ufw-allowed.txt", "iptables", PACKET, ""),
        ("ufw-allowed.txt", "iptables", PACKET._replace(port=8081), "INPUT"),
        ("ufw-allowed.txt", "iptables", PACKET._replace(source="172.30.201.0/24"), "INPUT"),
        ("firewalld.json", "nft", PACKET, "filter_INPUT_POLICIES"),
        ("firewalld.json", "nft", PACKET._replace(port=22), ""),
        ("firewalld-docker.json", "nft", PACKET, "filter_INPUT_POLICIES"),
        ("firewalld-docker.json", "nft", PACKET._replace(interface="docker0"), ""),
        ("firewalld-docker.json", "nft", PACKET._replace(interface="br-68766e16a7db"), ""),
        ("nftables.json", "nft", PACKET, "input"),
        ("nftables.json", "nft", PACKET._replace(port=11434), ""),
        ("nftables.json", "nft", PACKET._replace(port=9005), ""),
        ("nftables.json", "nft", PACKET._replace(port=9011), "input"),
        ("nftables.json", "nft", PACKET._replace(port=22), "input"),  # of eth0 only
        ("nftables.json", "nft", PACKET._replace(port=11434, source="10.0.0.0/8"), "input"),
    ],
)
def test_recorded(name, tool, packet, chain):
    found = firewall.judge(shown(name, tool), packet)
    assert (found["port"], found["verdict"], found["chain"]) == (packet.port, "drop" if chain else "accept", chain)
    place = {"ufw": ("iptables", "INPUT"), "firewalld": ("inet firewalld", "filter_INPUT"), "nftables": ("inet filter", "input")}[
        name.partition(".")[0].partition("-")[0]
    ]
    assert (found["table"], found["base"]) == (place if chain else ("", ""))


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ([], "drop"),
        (["-p tcp -m tcp --dport 8080 -j ACCEPT"], "accept"),
        (["-p udp -m udp --dport 8080 -j ACCEPT"], "drop"),
        (["! -i eth0 -j ACCEPT"], "accept"),
        (["-i br-+ -j ACCEPT"], "accept"),
        (["! -s 172.16.0.0/12 -j ACCEPT"], "drop"),
        (["-p tcp -m multiport --dports 22,8000:8100 -j ACCEPT"], "accept"),
        (["-m state --state RELATED,ESTABLISHED -j ACCEPT"], "drop"),
        (["-m geoip --source-country NL -j ACCEPT"], "drop"),  # not understood, so passed over
        (["-g LATER", "-j ACCEPT"], "drop"),
        (["-j LATER", "-j ACCEPT"], "accept"),
        (['-j LOG --log-prefix "in: "', '-m comment --comment "our own" -j ACCEPT'], "accept"),
        (["-j LOOP"], "drop"),
    ],
)
def test_iptables(rules, verdict):
    more = [":LATER - [0:0]", ":LOOP - [0:0]", "-A LOOP -j LOOP"]
    text = "\n".join(["*filter", ":INPUT DROP [0:0]", *more, *(f"-A INPUT {rule}" for rule in rules), "COMMIT"])
    assert firewall.judge({"iptables": Outcome(0, text, "")}, PACKET)["verdict"] == verdict


def test_every_table_must_let_it_through():
    assert firewall.judge({**shown("ufw-allowed.txt", "iptables"), **shown("nftables.json", "nft")}, PACKET)["chain"] == "input"


def test_a_network_that_is_not_there_yet_gets_the_zone_of_dockers_others():
    units = {"firewalld.service": {"ActiveState": "active"}}
    for name, verdict in (("firewalld-docker.json", "accept"), ("firewalld.json", "drop")):
        found = firewall.read(Host("/nonexistent"), [PACKET], shown(name, "nft"), units)
        assert (found["manager"], found["ports"][0]["verdict"]) == ("firewalld", verdict)


def test_what_cannot_be_read_is_no_fault():
    found = firewall.read(Host("/nonexistent"), [PACKET], {"nft": Outcome(1, "", "Operation not permitted")}, {})
    assert (found["readable"], found["ports"][0]["verdict"]) == (False, "accept")
    assert firewall.judge({"nft": Outcome(0, "{broken", "")}, PACKET)["verdict"] == "accept"
