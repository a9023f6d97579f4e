# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""NemoClaw's list of sandboxes: ours come and go beside its own, which nobody touches."""

from __future__ import annotations

import getpass
import json
import os
import time

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.registry import Registry, ours
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

THEIRS = {"name": "mine", "agent": "hermes", "gatewayName": "nemoclaw"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".nemoclaw" / "sandboxes.json"


def registry(path, name="assistant", model="small", state="present", gateway="nemoclaw"):
    common = {"path": str(path), "owner": getpass.getuser(), "gateway": gateway, "name": name}
    return Registry({**common, "state": state, "entry": {"model": model}})


def changed(resource) -> set[str]:
    """Apply what differs; the fields that did, after which none does."""
    state = resource.read()
    changes = resource.diff(state)
    if changes:
        resource.apply(state, changes)
    assert resource.changes() == []
    return {change.field for change in changes}


def test_an_entry_is_made_kept_and_changed(path):
    assert changed(registry(path)) == {"state"}
    first = json.loads(path.read_text())
    assert first["defaultSandbox"] == "assistant"
    assert first["sandboxes"]["assistant"]["model"] == "small"
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert sorted(os.listdir(path.parent)) == ["sandboxes.json"]
    assert changed(registry(path)) == set()
    first["sandboxes"]["assistant"]["createdAt"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(first))
    assert changed(registry(path, model="large")) == {"model"}
    assert json.loads(path.read_text())["sandboxes"]["assistant"]["createdAt"] == "2020-01-01T00:00:00Z"
    assert ours(str(path))


def test_what_others_have_stays(path):
    path.parent.mkdir()
    path.write_text(json.dumps({"sandboxes": {"mine": THEIRS}, "defaultSandbox": "mine", "extraProviders": ["x"]}))
    before = json.loads(path.read_text())
    for name, gateway in (("assistant", "nemoclaw"), ("second", "nemoclaw"), ("third", "other")):
        assert changed(registry(path, name, gateway=gateway)) == {"state"}
    assert not ours(str(path))
    assert changed(registry(path, "mine")) == set()
    assert changed(registry(path, "mine", state="absent")) == set()
    assert json.loads(path.read_text())["defaultSandbox"] == "mine"
    assert changed(registry(path, "", state="absent")) == {"state"}
    assert set(json.loads(path.read_text())["sandboxes"]) == {"mine", "third"}
    assert changed(registry(path, "third", gateway="other", state="absent")) == {"state"}
    assert json.loads(path.read_text()) == before


def test_the_file_goes_with_the_last_entry(path):
    changed(registry(path))
    changed(registry(path, "second"))
    changed(registry(path, state="absent"))
    assert json.loads(path.read_text())["defaultSandbox"] == "second"
    changed(registry(path, "second", state="absent"))
    assert not path.exists()


def test_another_ones_lock_is_waited_for_unless_it_is_old(path):
    lock = path.parent / "sandboxes.json.lock"
    (lock / "owner").parent.mkdir(parents=True)
    (lock / "owner").touch()
    os.utime(lock, (time.time() - 60, time.time() - 60))
    assert changed(registry(path)) == {"state"}
    assert not lock.exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"sandboxes": []}', '{"sandboxes": {"a": 1}}'])
def test_what_is_no_list_is_not_replaced(path, text):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ResourceError, match="not a list"):
        registry(path).changes()
    assert not ours(str(path))
