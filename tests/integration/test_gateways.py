# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway is besides its sandboxes: its certificates, who may use it, and that another one on the same host is none of its business."""

from __future__ import annotations

import datetime
import json

import pytest

from tests.emulator.gateway import certs
from tests.integration.fleet import Fleet, changed, unchanged

TLS = "/home/nemoclaw/.nemoclaw/gateway/tls"
SECOND = {
    "nemoclaw_user": "second",
    "nemoclaw_gateway": {"name": "nemoclaw-second", "port": 8090, "health_port": 8091, "subnet": "172.30.201.0/24"},
    "nemoclaw_sandboxes": [],
}


def play(fleet: Fleet, playbook="onboard.yml", users=(), **options):
    """Run on the fleet's hosts and on a second gateway of h1; h2 has further users."""
    hosts = {host.name: {"ansible_host": host.address, **fleet.of_host[host.name]} for host in fleet.bed.hosts}
    hosts["h2"]["nemoclaw_gateway_users"] = list(users)
    hosts["h1-second"] = {"ansible_host": fleet["h1"].address, **SECOND}
    return fleet.play(playbook, hosts=hosts, **options)


def as_user(fleet: Fleet, host: str, user: str, gateway: str, *words: str, check=True) -> str:
    return fleet[host].exec("runuser", "-u", user, "--", "env", f"HOME=/home/{user}", "openshell", "-g", gateway, *words, check=check).stdout


def leaf(fleet: Fleet, host: str, days: int) -> None:
    """Give a gateway a server's certificate of its own authority that runs out in so many days."""
    now = datetime.datetime.now()
    ca = certs.load_authority(*(fleet[host].read_file(f"{TLS}/{name}").encode() for name in ("ca.crt", "ca.key")))
    valid, certs.VALID = certs.VALID, (now - datetime.timedelta(days=365), now + datetime.timedelta(days=days))
    try:
        key, certificate = certs.leaf(*ca, "openshell-server", ["host.openshell.internal", "127.0.0.1"])
    finally:
        certs.VALID = valid
    for name, one in (("tls.key", key), ("tls.crt", certificate)):
        fleet[host].write_file(f"{TLS}/server/{name}", certs.pem(one).decode(), "0600", "nemoclaw:nemoclaw")


@pytest.fixture(scope="module")
def two(onboarded):
    """A second gateway on h1, a further user on h2, half a certificate on h3; all in one run."""
    onboarded.inside("h3", "echo kept > /sandbox/notes")
    onboarded["h3"].sh(f"truncate -s 20 {TLS}/server/tls.crt")
    token_key = onboarded["h3"].read_file(f"{TLS}/jwt/signing.pem")
    run = play(onboarded, users=["ops"])
    assert run.rc == 0
    assert onboarded["h3"].read_file(f"{TLS}/jwt/signing.pem") == token_key
    yield onboarded, run
    play(onboarded, "offboard.yml", limit="h1-second")


def test_each_host_gets_what_it_lacks(two):
    fleet, run = two
    assert unchanged(run, "h1")
    assert changed(run, "h2") == {"gateway/nemoclaw of ops"}
    assert changed(run, "h3") >= {f"certificates/{TLS}", "gateway/nemoclaw"}
    again = play(fleet, users=["ops"])
    assert [host for host in (*fleet.names, "h1-second") if not unchanged(again, host)] == []


def test_sandboxes_outlive_new_certificates(two):
    fleet, _run = two
    fleet.await_agent("h3")
    assert fleet.inside("h3", "cat /sandbox/notes") == "kept"


def test_a_further_user_has_the_gateway_until_taken_out(two):
    fleet, _run = two
    assert json.loads(as_user(fleet, "h2", "ops", "nemoclaw", "status", "-o", "json"))["status"] == "connected"
    assert "assistant" in as_user(fleet, "h2", "ops", "nemoclaw", "sandbox", "list")
    leaf(fleet, "h3", days=20)
    run = play(fleet)
    assert run.rc == 0
    assert changed(run, "h2") == {"gateway/nemoclaw of ops"}
    assert "connected" not in as_user(fleet, "h2", "ops", "nemoclaw", "status", "-o", "json", check=False)
    assert fleet["h2"].sh("find /home/ops/.config 2>/dev/null | wc -l") == "0"
    # h3, in the same run: a certificate that would run out in 20 days is renewed before
    before = next(change for change in predicted_first(run, "h3") if change["resource"] == f"certificates/{TLS}")
    assert before["field"] == "expires", before
    assert fleet["h3"].sh(f"openssl x509 -in {TLS}/server/tls.crt -noout -checkend {86400 * 30}; echo $?").endswith("0")
    fleet.await_agent("h3")


def predicted_first(run, host: str) -> list[dict]:
    return run.of_host(host, "nemoclaw.fleet.drift")[0]["changes"]


def test_a_second_gateway_is_by_itself(two):
    """Own ports, own network, own containers; its going leaves the first one and its sandbox as they were."""
    fleet, _run = two
    host = fleet["h1"]
    owner = (fleet, "h1", "second", "nemoclaw-second", "sandbox")
    as_user(*owner, "create", "--name", "assistant", "--from", "nf/sandbox:1", "-o", "json")
    assert as_user(*owner, "exec", "--name", "assistant", "--no-tty", "--", "sh", "-c", "ls /sandbox/.openclaw || echo fresh").strip() == "fresh"
    namespaces = host.sh("docker ps --format '{{.Label \"openshell.ai/sandbox-namespace\"}}' | sort").split()
    assert namespaces == ["nemoclaw", "nemoclaw-second"]
    listeners = host.sh("ss -Hltn '( sport = :8090 or sport = :8091 or sport = :8080 or sport = :8081 )' | awk '{print $4}' | sort").split()
    assert listeners == ["127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8090", "127.0.0.1:8091", "172.30.200.1:8080", "172.30.201.1:8090"]
    taken = play(fleet, limit="h1-second", variables={"nemoclaw_gateway": {**SECOND["nemoclaw_gateway"], "port": 8080}})
    assert taken.rc != 0
    assert "held by" in taken.output
    run = play(fleet, "offboard.yml", limit="h1-second")
    assert run.rc == 0
    assert host.sh("docker ps --quiet | wc -l; docker network ls --quiet --filter name=nemoclaw-second | wc -l").split() == ["1", "0"]
    assert host.exec("id", "second", check=False).returncode != 0
    assert fleet.dashboard("h1")
    assert fleet.chat("h1")
    assert unchanged(play(fleet, limit="h1"), "h1")
