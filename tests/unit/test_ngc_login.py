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
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.fingerprints import Fingerprints
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from tests.unit.image_registry import Registry

KEY, OTHER = "nvapi-canary-0123456789", "nvapi-other-0123456789"
HELPER = """#!/bin/sh
# keeps one set of credentials, as the protocol of Docker's helpers wants it
kept=$HOME/kept${0##*-credential}
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


@pytest.fixture
def helpers(home, monkeypatch) -> Path:
    """The directory of those of Debian's package, and of what one of them needs."""
    programs = home / "bin"
    programs.mkdir()
    monkeypatch.setattr(docker_config, "PATH", f"{programs}:{docker_config.PATH}")
    for name in ("docker-credential-pass", "docker-credential-secretservice", "pass"):
        program(programs / name, HELPER)
    return programs


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_no_helper(home, registry):
    with pytest.raises(ResourceError, match="has no credential helper"):
        make(registry, store="helper")


def test_in_a_helper(home, registry, helpers):
    assert make(registry, store="helper") == ["state"]
    assert files_with(home, KEY) == ["kept-pass"]
    assert json.loads((home / ".docker" / "config.json").read_text()) == {"credHelpers": {registry.host: "pass"}}
    (home / "kept-pass").write_text("")  # as after `docker logout`
    assert resource(registry, store="helper", password="").read() == {}
    assert make(registry, store="helper") == ["state"]
    assert make(registry, state="absent") == ["state"]
    assert files_with(home, KEY) == []
    assert json.loads((home / ".docker" / "config.json").read_text()) == {}


@pytest.mark.parametrize("known_there", [False, True])
def test_another_helper(home, registry, helpers, known_there):
    """The one before has them no more, also where the next one had them already."""
    make(registry, store="helper", helper="pass")
    if known_there:
        (home / "kept-secretservice").write_text((home / "kept-pass").read_text())
    assert make(registry, store="helper", helper="secretservice") == ["helper" if known_there else "state"]
    assert files_with(home, KEY) == ["kept-secretservice"]
    assert json.loads((home / ".docker" / "config.json").read_text()) == {"credHelpers": {registry.host: "secretservice"}}
    assert make(registry, store="config") == ["state"]
    assert files_with(home, KEY) == []
    assert list(json.loads((home / ".docker" / "config.json").read_text())) == ["auths"]


@pytest.mark.parametrize("what", [{"state": "absent"}, {"store": "none"}])
@pytest.mark.parametrize("lacks", ["docker-credential-pass", "pass"])
def test_a_helper_that_has_gone(home, registry, helpers, monkeypatch, what, lacks):
    """Nobody can take out what it has kept; the rest is done, and that much is said."""
    said = []
    monkeypatch.setattr(login, "warn", said.append)
    make(registry, store="helper")
    (helpers / "docker-credential-pass").unlink()
    if lacks == "pass":  # as the helper says it
        program(helpers / "docker-credential-pass", "#!/bin/sh\necho 'exec: \"pass\": executable file not found in $PATH'\nexit 1\n")
    with pytest.raises(ResourceError, match=r"docker-credential-pass get failed for the user someone: .*executable file not found.*Set pass up for someone"):
        make(registry, store="helper")
    make(registry, **what)
    (warning,) = said
    assert warning.startswith("docker-credential-pass erase failed for the user someone")
    assert warning.endswith(f"What it has kept of {registry.host} stays in its store.")
    assert json.loads((home / ".docker" / "config.json").read_text()) == {}


def test_a_helper_that_waits_for_somebody(home, registry, helpers, monkeypatch):
    program(helpers / "docker-credential-pass", "#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(docker_config, "PATIENCE", 0.2)
    with pytest.raises(ResourceError, match=r"docker-credential-pass get failed for the user someone: no answer within 0\.2 s\. Set pass up for someone"):
        make(registry, store="helper")
    assert resource(registry).read() == {}


def test_a_directory_in_place_of_the_configuration(home, registry):
    path = home / ".docker" / "config.json"
    path.mkdir(parents=True)
    with pytest.raises(ResourceError, match=rf"As the user someone: .*Is a directory: '{path}'\. See what lies there"):
        make(registry, store="config")


def by_hand(home, registry) -> Path:
    """What `docker login` leaves, in its file."""
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"auths": {registry.host: {"auth": "bWU6bWluZQ=="}}}))
    return path


@pytest.mark.parametrize("known", [False, True])
def test_a_login_that_is_to_be_absent_is_so_after_one_run(home, registry, known):
    """Somebody else's, too."""
    if known:
        make(registry)
    path = by_hand(home, registry)
    assert make(registry, state="absent") == ["state"]
    assert json.loads(path.read_text()) == {}


def others(keep=()) -> list[str]:
    """Take away what was kept for registries other than these; the logins that went."""
    wanted = login.Logins({"user": "someone", "keep": list(keep), "state": "absent"})
    state = wanted.read()
    changes = wanted.diff(state)
    if changes:
        wanted.apply(state, changes)
    assert wanted.changes() == []
    return [change.resource for change in changes]


@pytest.mark.parametrize("store", ["none", "config", "helper"])
def test_what_was_kept_for_registries_that_nobody_names_any_more(home, registry, helpers, store):
    with Registry() as former:
        former.password = OTHER
        threading.Thread(target=former.serve_forever, args=(0.02,), daemon=True).start()
        make(former, store=store, password=OTHER)
        former.shutdown()
    make(registry, store="config")
    assert others(keep=[registry.host]) == [f"login/{former.host}"]
    assert (files_with(home, OTHER), files_with(home, former.host)) == ([], [])
    assert make(registry, store="config") == []
    assert others() == [f"login/{registry.host}"]
    assert json.loads((home / ".docker" / "config.json").read_text()) == {}


def test_what_others_have_kept_stays(home, registry):
    """Also of a registry that was logged in to and kept nowhere; where nothing was kept, nothing is made."""
    path = by_hand(home, registry)
    before = path.read_text()
    assert others() == []
    assert not (home / ".nemoclaw").exists()
    make(registry)
    assert others() == [f"login/{registry.host}"]
    assert path.read_text() == before


def test_a_removal_makes_no_record(home, registry):
    by_hand(home, registry)
    make(registry, state="absent")
    Fingerprints(login.pwd.getpwnam("someone"), "registries").record("other.example", None)
    assert not (home / ".nemoclaw").exists()


def test_the_users_own_helper_counts(home, registry):
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text('{"credsStore": "pass"}')
    with pytest.raises(ResourceError, match=r"keep credentials of 127.* in pass\. Choose the store helper"):
        make(registry, store="config")
    assert files_with(home, KEY) == []


def test_a_user_that_is_not_there_yet(registry, home):
    assert resource(registry, user="nobody-yet").read() == {}
    assert resource(registry, user="nobody-yet", state="absent").read() == {}
    assert login.Logins({"user": "nobody-yet", "keep": []}).read() == {}
