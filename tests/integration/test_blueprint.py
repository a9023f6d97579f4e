# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host moves from one version of a blueprint to the next, with another image and so another sandbox; one that does not work is taken back. The files stay."""

from __future__ import annotations

import pytest

from tests.integration.fleet import ANSWER, Fleet, answer, blueprint_with, predicted, resources, unchanged

pytestmark = pytest.mark.long


def image(name: str) -> dict[str, tuple[str, str]]:
    return {"agents/openclaw/nemoclaw-profile.sh": ("set +a\n", f"set +a\n    BLUEPRINT={name}\n    export BLUEPRINT\n")}


@pytest.fixture(scope="module")
def blueprints(tmp_path_factory) -> dict[str, dict[str, str]]:
    """One that works, and one whose agent gives no answer."""
    directory = tmp_path_factory.mktemp("blueprints")
    silent = {"agents/openclaw/manifest.yaml": ("verify_argv: [openclaw, ", "verify_argv: ['false', ")}
    return {"works": blueprint_with(directory, "0.2.0", **image("second")), "silent": blueprint_with(directory, "0.3.0", **image("third"), **silent)}


@pytest.fixture(scope="module")
def upgrading(onboarded) -> Fleet:
    onboarded.inside("h1", "echo kept > /sandbox/notes")
    yield onboarded
    onboarded.of_host["h1"] = {}


def upgrade(fleet: Fleet, blueprint: dict[str, str], playbook: str = "upgrade.yml"):
    return fleet.play(playbook, diff=True, variables={"nemoclaw_blueprint": blueprint, "nemoclaw_allow_rebuild": True})


def sandbox(fleet: Fleet) -> tuple[str, str]:
    """Which blueprint its image is of, and what is in it."""
    return fleet.inside("h1", "echo $BLUEPRINT"), fleet.inside("h1", "cat /sandbox/notes")


def test_another_one_than_was_read_stops_before_any_host(upgrading, blueprints):
    run = upgrade(upgrading, {**blueprints["works"], "digest": "0" * 64})
    assert run.rc != 0
    assert "0" * 64 in run.output
    assert "h1" not in run.executions


def test_the_plan_says_what_it_changes(upgrading, blueprints):
    """Beside what differs on the host, which somebody may have changed by hand."""
    run = upgrade(upgrading, blueprints["works"], "plan.yml")
    assert (run.rc, run.changed) == (0, 0)
    assert 'h1): blueprint.version: "0.1.0" -> "0.2.0"' in run.output
    assert {"sandbox/assistant", "unit/nemoclaw-agent@assistant.service"} <= resources(predicted(run, "h1"))


def test_to_the_next_version(upgrading, blueprints):
    run = upgrade(upgrading, blueprints["works"])
    assert run.rc == 0
    assert answer(run, "h1") == ANSWER
    assert sandbox(upgrading) == ("second", "kept")
    upgrading.of_host["h1"]["nemoclaw_blueprint"] = blueprints["works"]
    assert unchanged(upgrading.play("onboard.yml"), "h1")
    runs = upgrading.play("status.yml").of_host("h1", "nemoclaw.fleet.run_history")[0]["runs"]
    assert [(one["blueprint"], one["ok"]) for one in runs[-2:]] == [("0.1.0", True), ("0.2.0", True)]


def test_one_that_does_not_work_is_taken_back(upgrading, blueprints):
    run = upgrade(upgrading, blueprints["silent"])
    assert run.rc != 0
    assert "The host is back at the plan it had" in run.output
    assert answer(run, "h1") == ANSWER
    assert sandbox(upgrading) == ("second", "kept")
    assert unchanged(upgrading.play("onboard.yml"), "h1")


def test_back_to_the_version_before(upgrading):
    run = upgrading.play("rollback.yml", variables={"nemoclaw_allow_rebuild": True})
    assert run.rc == 0
    assert answer(run, "h1") == ANSWER
    assert sandbox(upgrading) == ("", "kept")
