# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host remembers of the runs that changed it."""

from __future__ import annotations

import getpass
import json
import pathlib

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import runs as module
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.runs import Runs


def plan(letter: str) -> dict:
    return {"digest": letter * 64, "blueprint": {"version": "0.1.0"}, "host": "h1"}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A history in which every run begins a minute after the one before."""
    clock = iter(range(1_800_000_000, 1_900_000_000, 60))
    gmtime = module.time.gmtime
    monkeypatch.setattr(module.time, "gmtime", lambda *given: gmtime(*given or (next(clock),)))
    return Runs(str(tmp_path / "runs"), getpass.getuser())


def applied(runs: Runs, letter: str, keep: int = 20) -> str:
    run = runs.begin(plan(letter), ["route"])
    runs.end(run, plan(letter), {"answers": {"assistant": "pong"}}, keep)
    return run


def test_a_run_that_ended_well(runs):
    run = applied(runs, "a")
    (found,) = runs.all()
    assert (found["id"], found["digest"], found["ok"], found["seconds"], found["blueprint"]) == (run, "a" * 64, True, 60, "0.1.0")
    assert found["began"] < found["ended"]
    assert run.endswith("-aaaaaaaaaaaa")
    assert runs.applied() == plan("a")
    result = pathlib.Path(runs.directory, run, "result.json")
    assert (json.loads(result.read_text())["changes"], json.loads(result.read_text())["answers"]) == (["route"], {"assistant": "pong"})
    assert result.stat().st_mode & 0o777 == 0o600
    assert result.parent.stat().st_mode & 0o777 == 0o700


def test_a_plan_that_changed_on_the_way(runs):
    runs.end(runs.begin(plan("a"), []), plan("b"), {}, 20)
    assert runs.applied() == plan("b")


def test_a_plan_keeps_its_order(runs):
    """Servers that go before others are made do so in a rollback too."""
    kept = {**plan("a"), "serving": {"vllm": {}, "nim": {}}}
    runs.end(runs.begin(kept, []), kept, {}, 20)
    assert list(runs.applied()["serving"]) == ["vllm", "nim"]


def test_no_run_yet(runs):
    assert (runs.all(), runs.applied(), runs.before()) == ([], {}, {})


def test_the_plan_before_is_another_one(runs):
    for letter in "aabb":
        applied(runs, letter)
    assert runs.applied() == plan("b")
    assert runs.before() == plan("a")


def test_going_back_and_forth(runs):
    for letter in "aba":
        applied(runs, letter)
    assert runs.before() == plan("b")


def test_a_run_that_did_not_end_is_no_plan_to_go_back_to(runs):
    applied(runs, "a")
    applied(runs, "b")
    runs.begin(plan("c"), [])
    assert [run["ok"] for run in runs.all()] == [True, True, False]
    assert runs.applied() == plan("b")
    assert runs.before() == plan("a")


def test_the_history_is_bounded_but_the_plan_before_is_kept(runs):
    applied(runs, "a")
    for _time in range(6):
        applied(runs, "b", keep=3)
    assert [run["digest"][0] for run in runs.all()] == ["a", "b", "b", "b"]
    assert runs.before() == plan("a")


def test_a_clock_that_was_put_right_meanwhile(runs, monkeypatch):
    """A run may do that itself (nemoclaw_preflight_repair); what was applied last stays the last."""
    applied(runs, "a")
    gmtime, back = module.time.gmtime, iter(range(1_700_000_000, 1_700_000_100))
    monkeypatch.setattr(module.time, "gmtime", lambda *given: gmtime(*given or (next(back),)))
    for letter in "bcc":
        applied(runs, letter, keep=3)
    assert [run["digest"][0] for run in runs.all()] == ["b", "c", "c"]
    assert (runs.applied(), runs.before()) == (plan("c"), plan("b"))


def test_a_clock_that_goes_back_within_a_run(runs, monkeypatch):
    run = runs.begin(plan("a"), [])
    gmtime = module.time.gmtime
    monkeypatch.setattr(module.time, "gmtime", lambda *given: gmtime(*given or (1_700_000_000,)))
    runs.end(run, plan("a"), {}, 20)
    assert runs.all()[0]["seconds"] == 0


def test_a_file_that_was_cut_off(runs):
    applied(runs, "a")
    run = applied(runs, "b")
    pathlib.Path(runs.directory, run, "plan.json").write_text('{"digest": "bb')
    assert [run["digest"][0] for run in runs.all()] == ["a"]
    assert runs.applied() == plan("a")


def test_what_is_no_run(runs):
    applied(runs, "a")
    pathlib.Path(runs.directory, "notes.txt").write_text("mine")
    assert len(runs.all()) == 1
