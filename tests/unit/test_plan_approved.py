# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan that was approved is what is applied, or nothing is: what has changed since is named."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import build
from tests.unit.test_plan import FACTS, TYPICAL, plan, run


@pytest.fixture
def approved(tmp_path):
    """A directory with the plan of the typical host."""
    made = run(TYPICAL)
    (tmp_path / made["file"]).write_text(build.canonical(made["plan"]))
    return tmp_path


def refusal(given, directory, facts=FACTS) -> str:
    result = run(given, facts=facts, approved=str(directory))
    assert result.get("failed"), "the plan was taken for an approved one"
    return result["msg"]


def test_the_same_plan_is_applied(approved):
    assert run(TYPICAL, approved=str(approved))["plan"] == plan(TYPICAL)


def test_variables_that_come_to_the_same_plan(approved):
    """What only says how a run is made changes no plan."""
    assert not run({**TYPICAL, "nemoclaw_allow_rebuild": True, "nemoclaw_plan_dir": str(approved)}, approved=str(approved)).get("failed")


def test_an_older_approval_holds_while_it_is_kept(approved):
    later = run({**TYPICAL, "nemoclaw_gateway": {"port": 18081}})
    (approved / later["file"]).write_text(build.canonical(later["plan"]))
    assert not run(TYPICAL, approved=str(approved)).get("failed")


def test_other_variables(approved):
    said = refusal({**TYPICAL, "nemoclaw_gateway": {"port": 18081}}, approved)
    assert "the variables have changed" in said
    assert 'gateway.endpoint: "https://127.0.0.1:18080" -> "https://127.0.0.1:18081"' in said
    assert "Nothing was changed" in said


def test_another_host(approved):
    """The owner has another home now."""
    facts = copy.deepcopy(FACTS)
    facts["users"] = {TYPICAL.get("nemoclaw_user", "nemoclaw"): {"uid": 990, "gid": 990, "home": "/srv/nemoclaw", "shell": "/bin/sh", "groups": []}}
    said = refusal(TYPICAL, approved, facts)
    assert "the host has changed" in said
    assert "/srv/nemoclaw" in said


def test_another_blueprint(approved, tmp_path_factory):
    (kept,) = approved.iterdir()
    kept.write_text(kept.read_text().replace(plan(TYPICAL)["blueprint"]["digest"], "0" * 64))
    kept.rename(kept.with_name("spark1-000000000000.json"))
    said = refusal(TYPICAL, approved)
    assert "the blueprint has changed" in said
    assert "blueprint.digest" in said


def test_no_plan_of_this_host(tmp_path):
    said = refusal(TYPICAL, tmp_path)
    assert "holds no plan of spark1" in said
    assert "plan.yml" in said


def test_a_plan_of_another_host_whose_name_begins_alike(approved):
    (kept,) = approved.iterdir()
    kept.rename(kept.with_name(f"spark1-{kept.name}"))
    assert "holds no plan of spark1" in refusal(TYPICAL, approved)
