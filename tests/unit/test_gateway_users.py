# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose registration of a gateway is found and taken away; homes are real directories."""

from __future__ import annotations

import json
import os
import pwd

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import users
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell

ENDPOINT = "https://127.0.0.1:8080"


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Users ann, bob and root with homes of their own; all of them are this process's user to the kernel."""
    monkeypatch.setattr(users, "as_user", lambda account, function, *args: function(*args))
    accounts = [pwd.struct_passwd((name, "x", number, 0, "", str(tmp_path / name), "/bin/sh")) for number, name in enumerate(("root", "owner", "ann", "bob"))]
    monkeypatch.setattr(users.pwd, "getpwall", lambda: accounts)
    monkeypatch.setattr(users.pwd, "getpwnam", lambda name: next(one for one in accounts if one.pw_name == name))
    return tmp_path


def register(home, endpoint=ENDPOINT, name="nemoclaw", active=True):
    directory = home / ".config/openshell/gateways" / name
    (directory / "mtls").mkdir(parents=True)
    (directory / "mtls/tls.key").write_text("key")
    (directory / "metadata.json").write_text(json.dumps({"name": name, "gateway_endpoint": endpoint}))
    if active:
        (home / ".config/openshell/active_gateway").write_text(name)


def resource():
    return users.Users({"name": "nemoclaw", "users": [], "endpoint": ENDPOINT, "tls_dir": "/nowhere"}, OpenShell("owner", "nemoclaw"))


def test_who_is_not_listed_loses_it_without_a_trace(homes):
    for name in ("root", "owner", "ann"):
        register(homes / name)
    found = resource()
    [change] = found.changes()
    assert (change.resource, change.field, change.after) == ("gateway/nemoclaw of ann", "state", "absent")
    found.apply(found.read(), [change])
    assert found.changes() == []
    assert not os.listdir(homes / "ann")
    assert os.path.exists(homes / "root/.config/openshell/gateways/nemoclaw/mtls/tls.key")
    assert os.path.exists(homes / "owner/.config/openshell/gateways/nemoclaw/mtls/tls.key")


def test_another_gateway_of_the_same_name_or_beside_it_stays(homes):
    register(homes / "ann", endpoint="https://elsewhere.example:8080")
    register(homes / "bob")
    register(homes / "bob", name="work", active=False)
    found = resource()
    assert [change.resource for change in found.changes()] == ["gateway/nemoclaw of bob"]
    found.apply(found.read(), [])
    assert sorted(os.listdir(homes / "bob/.config/openshell")) == ["gateways"]
    assert os.listdir(homes / "bob/.config/openshell/gateways") == ["work"]
    assert os.path.exists(homes / "ann/.config/openshell/active_gateway")


def test_what_is_no_registration_is_left_alone(homes):
    (homes / "ann/.config/openshell/gateways/nemoclaw").mkdir(parents=True)
    (homes / "ann/.config/openshell/gateways/nemoclaw/metadata.json").write_text("{half")
    assert resource().changes() == []
