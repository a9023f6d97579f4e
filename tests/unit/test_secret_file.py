# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret that a host makes for itself: random, private at any time, kept once it is there, in no state and no change."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import secret_file
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.secret_file import SecretFile


@pytest.fixture
def desired(tmp_path):
    me = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
    return {"path": str(tmp_path / "proxy" / "token"), "bytes": 24, "mode": "0600", **me}


def converge(resource):
    state = resource.read()
    changes = resource.diff(state)
    if changes:
        resource.apply(state, changes)
    return changes


def test_it_is_made_once(desired):
    made = converge(SecretFile(desired))
    secret = secret_file.read(desired["path"])
    assert re.fullmatch("[0-9a-f]{48}", secret)
    assert secret not in json.dumps([change.as_dict() for change in made])
    assert converge(SecretFile(desired)) == []
    assert secret_file.read(desired["path"]) == secret
    assert secret not in json.dumps(SecretFile(desired).read())


def test_two_hosts_have_not_the_same(desired, tmp_path):
    other = {**desired, "path": str(tmp_path / "other")}
    converge(SecretFile(desired))
    converge(SecretFile(other))
    assert secret_file.read(desired["path"]) != secret_file.read(other["path"])


def test_an_open_mode_is_mended_and_the_secret_kept(desired):
    converge(SecretFile(desired))
    secret = secret_file.read(desired["path"])
    os.chmod(desired["path"], 0o644)
    assert [change.field for change in converge(SecretFile(desired))] == ["mode"]
    assert (secret_file.read(desired["path"]), os.stat(desired["path"]).st_mode & 0o777) == (secret, 0o600)


@pytest.mark.parametrize("content", ["", "short\n"])
def test_one_that_is_too_short_is_made_anew(desired, content):
    secret_file.write(desired["path"], content, desired["owner"], desired["group"], "0600")
    assert [change.field for change in converge(SecretFile(desired))] == ["made"]
    assert len(secret_file.read(desired["path"])) == 48


def test_it_goes(desired):
    converge(SecretFile(desired))
    assert [change.after for change in converge(SecretFile({**desired, "state": "absent"}))] == ["absent"]
    assert not os.path.exists(desired["path"])
    assert converge(SecretFile({**desired, "state": "absent"})) == []
