# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of a registry: checked there, kept as asked for, compared without asking again."""

from __future__ import annotations

import json
import os
import pwd
import threading
from pathlib import Path

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import client, docker_config, login
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.registry import RegistryError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from tests.unit.image_registry import Registry

KEY, OTHER = "nvapi-canary-0123456789", "nvapi-other-0123456789"
HELPER = """#!/bin/sh
# keeps one set of credentials, as the protocol of Docker's helpers wants it
kept=$HOME/kept
case $1 in
  store) cat > $kept ;;
  get) [ -s $kept ] && cat $kept || { [ -e $kept ] && echo '{"Username": "", "Secret": ""}' || { echo credentials not found in native keychain; exit 1; }; } ;;
  erase) rm $kept ;;
esac
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home of the user who gets the credentials."""
    account = pwd.struct_passwd(("someone", "x", os.geteuid(), os.getegid(), "", str(tmp_path), "/bin/sh"))
    monkeypatch.setattr(login.pwd, "getpwnam", lambda name: {"someone": account}[name])
    return tmp_path


@pytest.fixture
def registry():
    try:
        client.connect()
    except client.EngineUnavailable as error:
        pytest.skip(str(error))
    with Registry() as server:
        server.password = KEY
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def resource(registry, **desired) -> login.Login:
    return login.Login({"registry": registry.host, "username": "$oauthtoken", "password": KEY, "user": "someone", "store": "none", **desired})


def make(registry, **desired) -> list[str]:
    """Apply as the module does; the fields that changed. What was made is there afterwards."""
    wanted = resource(registry, **desired)
    state = wanted.read()
    if changes := wanted.diff(state):
        wanted.apply(state, changes)
    assert wanted.changes() == []
    return [change.field for change in changes]


def files_with(home: Path, text: str) -> list[str]:
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and text in path.read_text(errors="replace")]


def test_nothing_is_kept(home, registry):
    assert make(registry) == ["state"]
    registry.password = "changed there"  # nobody is asked again
    assert make(registry) == []
    assert files_with(home, KEY) == []
    assert not (home / ".docker").exists()


def test_a_bad_key(home, registry):
    with pytest.raises(RegistryError, match=r"does not accept the credentials of \$oauthtoken: HTTP status 401: Invalid user or API key\.") as raised:
        make(registry, password=OTHER)
    assert raised.value.kind == "unauthorized"
    assert OTHER not in str(raised.value)
    assert resource(registry, password=OTHER).read() == {}


def test_another_key(home, registry):
    make(registry)
    registry.password = OTHER
    assert make(registry, password=OTHER) == ["credentials"]


def test_without_a_key_nothing_is_compared(home, registry):
    make(registry)
    assert make(registry, password=None) == []
    with pytest.raises(ResourceError, match="There is no password"):
        make(registry, password=None, username="else")


def test_in_the_configuration(home, registry):
    """Merged into what is there, for the user alone; a change by hand is a difference."""
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text('{"auths": {"other.example": {"auth": "eDp5"}}, "detachKeys": "ctrl-q"}')
    make(registry, store="config")
    config = json.loads(path.read_text())
    assert (config["auths"]["other.example"], config["detachKeys"]) == ({"auth": "eDp5"}, "ctrl-q")
    assert client.docker.auth.load_config(str(path)).resolve_authconfig(registry.host)["password"] == KEY
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(json.dumps({**config, "auths": {registry.host: {"auth": "eDp5"}}}))
    assert make(registry, store="config") == ["credentials"]

    assert make(registry, store="none") == ["store"]  # what we kept there goes
    assert json.loads(path.read_text()) == {"detachKeys": "ctrl-q"}


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": []}'])
def test_a_broken_configuration_is_left_alone(home, registry, text):
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ResourceError, match="no configuration of Docker; it was left as it is"):
        make(registry, store="config")
    assert path.read_text() == text


def test_in_a_helper(home, registry, monkeypatch):
    programs = home / "bin"
    programs.mkdir()
    monkeypatch.setattr(docker_config, "PATH", f"{programs}:{docker_config.PATH}")
    with pytest.raises(ResourceError, match="has no credential helper"):
        make(registry, store="helper")
    for name in ("docker-credential-pass", "docker-credential-secretservice", "pass"):  # Debian's package has both helpers
        (programs / name).write_text(HELPER)
        (programs / name).chmod(0o755)
    assert make(registry, store="helper") == ["state"]
    assert files_with(home, KEY) == ["kept"]
    assert json.loads((home / ".docker" / "config.json").read_text()) == {"credHelpers": {registry.host: "pass"}}
    (home / "kept").write_text("")  # as after `docker logout`
    assert resource(registry, store="helper", password="").read() == {}
    assert make(registry, store="helper") == ["state"]
    assert make(registry, state="absent") == ["state"]
    assert files_with(home, KEY) == []
    assert json.loads((home / ".docker" / "config.json").read_text()) == {}


def test_somebody_elses_login_stays(home, registry):
    """Where only what was made here is to go."""
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"auths": {registry.host: {"auth": "bWU6bWluZQ=="}}}))
    assert make(registry, state="absent", ours=True) == []
    assert "auths" in json.loads(path.read_text())
    assert make(registry, state="absent") == ["state"]
    assert "auths" not in json.loads(path.read_text())


def test_the_users_own_helper_counts(home, registry):
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text('{"credsStore": "pass"}')
    with pytest.raises(ResourceError, match=r"keep credentials of 127.* in pass\. Choose the store helper"):
        make(registry, store="config")
    assert files_with(home, KEY) == []


def test_a_user_that_is_not_there_yet(registry, home):
    assert resource(registry, user="nobody-yet").read() == {}
