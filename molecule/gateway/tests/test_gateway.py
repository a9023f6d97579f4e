# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway as its owner and its host see it."""

import json
import time

import pytest


@pytest.fixture(autouse=True)
def ready(host):
    """A host that has just booted is given a minute."""
    deadline = time.monotonic() + 60
    while host.run("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8081/readyz").stdout != "200":
        assert time.monotonic() < deadline, "the gateway is not ready"
        time.sleep(0.5)


@pytest.mark.parametrize("user", ["nemoclaw", "ops"])
def test_answers_its_owner_and_a_further_user(host, user):
    status = host.check_output(f"runuser -u {user} -- env HOME=/home/{user} openshell -g nemoclaw status -o json")
    assert json.loads(status)["status"] == "connected"
    assert host.check_output(f"find /home/{user}/.config/openshell/gateways -type f -name 'tls.key' -user {user} -perm 0600")


def test_service(host):
    service = host.service("nemoclaw-gateway")
    assert service.is_running
    assert service.is_enabled


def test_is_hardened(host):
    host.check_output("systemd-analyze security --no-pager --threshold=20 nemoclaw-gateway")  # of 100


def test_listens_on_the_loopback_and_the_sandboxes_network_only(host):
    found = host.check_output("ss -Hltnp | awk '/openshell|python3/ {print $4}'").split()
    assert sorted(found) == ["127.0.0.1:18080", "127.0.0.1:8081", "172.30.77.1:18080"]


def test_nobody_else_reads_its_state(host):
    assert host.check_output("find /home/nemoclaw/.nemoclaw /home/nemoclaw/.config -type d ! -perm 0700") == ""
    secrets = "-name '*.key' -o -name '*.pem' -o -name '*.bin' -o -name '*.db*'"
    assert host.check_output(f"find /home/nemoclaw/.nemoclaw {secrets} | xargs stat -c %a | sort -u") == "600"
