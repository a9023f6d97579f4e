# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offboarding leaves a host as it was before, but for what it says it keeps; also when it was set up half, and twice."""

from __future__ import annotations

import json

import pytest

from tests.integration.fleet import NEMOCLAW, THEIRS, Fleet, differences


@pytest.fixture(scope="module")
def leaving(fleet) -> Fleet:
    """Onboarded hosts of which it is known what they were before."""
    if set(fleet.before) != set(fleet.names):
        fleet.fresh()
    fleet.onboarded()
    return fleet


def kept(run, host: str) -> dict:
    return next(result["msg"] for result in run.of_host(host, "ansible.builtin.debug") if "user" in result["msg"])


def left(fleet: Fleet, host: str) -> list[str]:
    """What is not as before, but for the packages that are said to be kept, and the model server, which other tests of the same hosts set up."""
    lines = differences(fleet.before[host], fleet.snapshot(host))
    return [line for line in lines if not line.startswith(("+ packages ", "- packages ")) and "llama-server" not in line]


def test_check_touches_nothing(leaving):
    before = {name: leaving.snapshot(name) for name in leaving.names}
    assert leaving.play("offboard.yml", check=True, diff=True).rc == 0
    for name in leaving.names:
        # a running gateway writes its database
        assert [line for line in differences(before[name], leaving.snapshot(name)) if "/gateway/gateway.db" not in line] == []


def test_nemoclaw_sees_the_sandboxes(leaving):
    """Its own of h2 is still in its list, and the default."""
    for name in ("h1", "h2"):
        listing = json.loads(leaving[name].read_file(NEMOCLAW))
        ours = listing["sandboxes"].pop("assistant")
        assert (ours["agent"], ours["model"], ours["gatewayName"], ours["dashboardPort"]) == ("openclaw", "tiny-agent", "nemoclaw", 18789)
        assert listing == (THEIRS if name == "h2" else {"sandboxes": {}, "defaultSandbox": "assistant"})
        assert leaving[name].sh(f"stat -c '%a %U' {NEMOCLAW}") == "600 nemoclaw"


def test_nothing_is_left(leaving):
    """h2 had its user nemoclaw and a list of NemoClaw's before, and every host the base image."""
    run = leaving.play("offboard.yml")
    assert run.rc == 0
    for name in leaving.names:
        assert left(leaving, name) == []
    assert kept(run, "h1")["user"] == "none"
    assert kept(run, "h2")["user"] == "nemoclaw"
    assert leaving["h2"].read_file("/home/nemoclaw/notes.txt") == "mine\n"
    for name in leaving.names:
        assert leaving.BASE in kept(run, name)["images"]


def test_twice(leaving):
    run = leaving.play("offboard.yml")
    assert run.rc == 0
    assert run.changed == 0


def test_half_set_up(leaving):
    """The gateway runs but is not registered; nothing but what is there can be asked."""
    run = leaving.play("onboard.yml", limit="h1", kill_at="TASK [nemoclaw.fleet.gateway : Registration]")
    assert run.rc == -9
    assert leaving["h1"].sh("systemctl is-active nemoclaw-gateway") == "active"
    assert leaving.play("offboard.yml", limit="h1").rc == 0
    assert left(leaving, "h1") == []
