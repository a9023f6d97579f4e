# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promises that the tree makes about itself: roles, modules, playbooks."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def read(*parts):
    return yaml.safe_load(ROOT.joinpath(*parts).read_text(encoding="utf-8"))


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_specs_and_defaults_agree(role):
    specs, defaults = read("roles", role, "meta/argument_specs.yml")["argument_specs"], read("roles", role, "defaults/main.yml")
    for entry in specs.values():
        assert {name: option.get("default") for name, option in entry["options"].items()} == defaults
    assert all(name.startswith(f"{role}_") for name in defaults)


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_of_a_role_is_specified(role):
    specs = read("roles", role, "meta/argument_specs.yml")["argument_specs"]
    used = {
        task["ansible.builtin.include_role"].get("tasks_from", "main")
        for playbook in [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/tasks/*.yml")]
        for task in flat(yaml.safe_load(playbook.read_text()))
        if task.get("ansible.builtin.include_role", {}).get("name") == f"nemoclaw.fleet.{role}"
    }
    assert used <= set(specs)


def flat(entries):
    """Every task of plays and blocks."""
    for entry in entries:
        yield entry
        for key in ("tasks", "block", "rescue", "always", "pre_tasks", "post_tasks"):
            yield from flat(entry.get(key, []))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_what_it_is_for(role):
    assert (ROOT / "roles" / role / "README.md").read_text().startswith(f"# {role}\n")
    assert f"`{role}`" in (ROOT / "docs/roles.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "plugins/modules").glob("*.py")), ids=lambda path: path.stem)
def test_a_module_is_a_thin_front(path):
    assert path.stat().st_size <= 10 * 1024


def test_nothing_gathers_facts_that_nobody_uses():
    for playbook in ROOT.glob("playbooks/*.yml"):
        assert [play.get("gather_facts") for play in read(playbook)] == [False] * len(read(playbook)), playbook.name


PROXY = {"resources": [{"resource": "unit"}, {"resource": "secret"}]}


NEXT = ("proxy", "secret//etc/nemoclaw/proxy/token.next", "state")
READ = ("proxy", "proxy/nemoclaw-proxy", "accepted.conf")
RUNS = ("proxy", "proxy/nemoclaw-proxy", "running configuration")
GIVEN = ("inference", "provider/compatible-endpoint", "credentials")


@pytest.mark.parametrize(
    ("proxy", "changes", "refused"),
    [
        (PROXY, [], False),
        ({}, [], True),
        ({"resources": [{"resource": "absent"}]}, [], True),  # a proxy that is to go has no token
        # it was interrupted once the next token was there, before or in the reload, after the provider had it, after it had become the token
        *((PROXY, changes, False) for changes in ([NEXT, READ], [NEXT, RUNS], [NEXT], [NEXT, GIVEN], [READ], [RUNS])),
        (PROXY, [NEXT, ("inference", "provider/compatible-endpoint", "managed")], False),
        (PROXY, [NEXT, ("proxy", "proxy/nemoclaw-proxy", "configuration"), READ], True),
        (PROXY, [("proxy", "secret//etc/nemoclaw/proxy/token", "made")], True),
        (PROXY, [("proxy", "unit/nemoclaw-proxy.service", "active")], True),
        (PROXY, [("inference", "route/inference.local", "model"), GIVEN], True),
        (PROXY, [("sandbox/assistant", "sandbox/assistant", "state")], False),
    ],
)
def test_a_rotation_that_was_interrupted_goes_on(proxy, changes, refused):
    (play,) = read("playbooks", "rotate.yml")
    task = next(task for task in play["tasks"] if "ansible.builtin.fail" in task)
    drift = {"changes": [dict(zip(("component", "resource", "field"), change)) for change in changes]}
    known = {"onboard_planned": {"plan": {"proxy": proxy}}, "onboard_drift": drift, **{name: trust_as_template(text) for name, text in task["vars"].items()}}
    assert bool(Templar(DataLoader(), variables=known).template(trust_as_template("{{ " + task["when"] + " }}"))) == refused


@pytest.mark.parametrize(("changes", "finished"), [([NEXT], True), ([NEXT, READ], True), ([READ, RUNS, GIVEN], False), ([], False)])
def test_onboarding_finishes_a_rotation(changes, finished):
    """Once the agents have answered, so that it begins where everything is as planned."""
    tasks = read("playbooks", "tasks/apply.yml")
    names = [task.get("ansible.builtin.include_tasks") for task in tasks]
    asked = next(number for number, task in enumerate(tasks) if "nemoclaw.fleet.verify" in task)
    task = tasks[names.index("rotate.yml")]
    assert names.index("rotate.yml") > asked
    known = {"onboard_drift": {"changes": [dict(zip(("component", "resource", "field"), change)) for change in changes]}}
    assert bool(Templar(DataLoader(), variables=known).template(trust_as_template("{{ " + task["when"] + " }}"))) == finished
