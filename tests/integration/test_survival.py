# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is up again by itself, and what the next run heals."""

from __future__ import annotations

import time

from tests.integration.fleet import ANSWER, answer, changed, predicted, resources, unchanged


def test_reboot(onboarded):
    """Gateway, sandbox, agent and forward are back without a run."""
    onboarded.inside("h1", "echo kept > /sandbox/notes")
    booted = onboarded["h1"].reboot()
    seconds = onboarded.await_agent("h1")
    print(f"reboot: host up after {booted:.1f} s, agent and model answer {seconds:.1f} s later")
    assert onboarded.inside("h1", "cat /sandbox/notes") == "kept"


def test_killed_gateway(onboarded):
    host = onboarded["h3"]
    before = host.sh("systemctl show --value -p MainPID nemoclaw-gateway")
    host.sh(f"kill -9 {before}")
    seconds = onboarded.await_agent("h3")
    print(f"gateway killed: agent and model answer again after {seconds:.1f} s")
    assert host.sh("systemctl show --value -p MainPID nemoclaw-gateway") not in ("0", before)


def test_killed_sandbox_is_healed_with_its_files(onboarded):
    """The others, which came back by themselves, are unchanged in the same run."""
    host = onboarded["h2"]
    onboarded.inside("h2", "echo kept > /sandbox/notes")
    host.sh("docker kill $(docker ps --quiet --filter label=openshell.ai/sandbox-name=assistant)")
    deadline = time.monotonic() + 90
    while "Error" not in onboarded.openshell("h2", "sandbox", "list"):
        assert time.monotonic() < deadline, "the gateway does not notice"
        time.sleep(0.5)
    check = onboarded.play("onboard.yml", check=True, diff=True)
    phase = next(change for change in predicted(check, "h2") if change["field"] == "phase")
    assert (phase["resource"], phase["before"], phase["after"]) == ("sandbox/assistant", "Error", "Ready")
    run = onboarded.play("onboard.yml")
    assert run.rc == 0
    assert unchanged(run, "h1")
    assert unchanged(run, "h3")
    assert "sandbox/assistant" in changed(run, "h2")
    assert "image/nemoclaw/openclaw" not in resources(predicted(run, "h2"))
    assert answer(run, "h2") == ANSWER
    assert onboarded.inside("h2", "cat /sandbox/notes") == "kept"
    again = onboarded.play("onboard.yml", limit="h2")
    assert unchanged(again, "h2")
