# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway as its owner and its host see it."""

import json


def test_answers_its_owner(host):
    status = host.check_output("runuser -u nemoclaw -- env HOME=/home/nemoclaw openshell -g nemoclaw status -o json")
    assert json.loads(status)["status"] == "connected"


def test_service(host):
    service = host.service("nemoclaw-gateway")
    assert service.is_running
    assert service.is_enabled


def test_listens_on_the_loopback_and_the_sandboxes_network_only(host):
    found = host.check_output("ss -Hltnp | awk '/openshell|python3/ {print $4}'").split()
    assert sorted(found) == ["127.0.0.1:18080", "127.0.0.1:8081", "172.30.77.1:18080"]


def test_nobody_else_reads_its_state(host):
    assert host.check_output("find /home/nemoclaw/.nemoclaw /home/nemoclaw/.config -type d ! -perm 0700") == ""
    secrets = "-name '*.key' -o -name '*.pem' -o -name '*.bin' -o -name '*.db*'"
    assert host.check_output(f"find /home/nemoclaw/.nemoclaw {secrets} | xargs stat -c %a | sort -u") == "600"
