# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a gateway's certificates, found by what they are for; the files are real ones."""

from __future__ import annotations

import datetime
import os
import pathlib
import pwd
import time

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import as_user as users
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import owned
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import certificates
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.certificates import Certificates
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from tests.bed.paths import TESTS
from tests.emulator.gateway import certs

NAME = "host.openshell.internal"
ME = pwd.getpwuid(os.geteuid())


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A directory as a gateway has it, and what would keep it so; units are only noted."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(certificates, "systemctl", lambda *args, **options: called.append(args) or "")
    called: list[tuple] = []
    certs.generate(str(tmp_path / "tls"), [NAME])
    resource = wanted(tmp_path)
    resource._close(resource.name)
    resource.called = called
    return resource


def wanted(tmp_path, **more):
    bin_dir = tmp_path / "bin"
    if not bin_dir.exists():
        bin_dir.mkdir()
        (bin_dir / "openshell-gateway").symlink_to(TESTS / "emulator/bin/openshell-gateway")
    paths = {"path": str(tmp_path / "tls"), "bin_dir": str(bin_dir), "tokens": str(tmp_path / "tokens")}
    return Certificates({**paths, "owner": ME.pw_name, "server_name": NAME, "days": 30, "unit": "x", **more})


def content(resource, name):
    return pathlib.Path(resource.name, name).read_bytes()


def write(resource, name, data):
    path = os.path.join(resource.name, name)
    with open(path, "wb") as stream:
        stream.write(data)
    os.chmod(path, 0o600)


def leaf(resource, monkeypatch, days):
    """Replace the server's certificate by one of the same authority that runs out in so many days."""
    now = datetime.datetime.now()
    monkeypatch.setattr(certs, "VALID", (now - datetime.timedelta(days=400), now + datetime.timedelta(days=days)))
    ca = certs.load_authority(*(content(resource, name) for name in ("ca.crt", "ca.key")))
    key, certificate = certs.leaf(*ca, "openshell-server", [NAME])
    write(resource, "server/tls.key", certs.pem(key))
    write(resource, "server/tls.crt", certs.pem(certificate))


def fields(resource):
    return {change.field: change.before for change in resource.changes()}


def test_a_good_set_stays(made):
    assert made.read() == {"problem": "", "expires": "4096-01-01", "soon": False, "open": [], "exchanging": False}
    assert made.changes() == []


def test_none(tmp_path):
    assert fields(wanted(tmp_path)) == {"state": "absent"}


@pytest.mark.parametrize(("days", "field"), [(29, "expires"), (31, None), (-1, "usable")])
def test_time(made, monkeypatch, days, field):
    leaf(made, monkeypatch, days)
    assert list(fields(made)) == ([field] if field else [])
    if days < 0:
        assert "expired" in fields(made)["usable"]


@pytest.mark.parametrize("name", [*certificates.TLS, *certificates.JWT])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut off"])
def test_damage(made, name, damage):
    path = os.path.join(made.name, name)
    data = content(made, name)
    if damage == "missing":
        os.unlink(path)
    elif name.endswith("kid") and damage == "cut off":
        pytest.skip("a shorter key id is a key id")
    else:
        write(made, name, data[: len(data) // 2] if damage == "cut off" else b"")
    if name == "ca.key" and damage != "missing":
        pytest.skip("nothing is signed with it again: the next set has its own")
    assert list(fields(made)) == ["usable"]


def test_of_another_authority_or_name(made, tmp_path):
    other = certs.authority("other")
    key, certificate = certs.leaf(*other, "openshell-client", client=True)
    write(made, "client/tls.key", certs.pem(key))
    write(made, "client/tls.crt", certs.pem(certificate))
    assert list(fields(made)) == ["usable"]
    assert "other.example" in fields(wanted(tmp_path, server_name="other.example"))["usable"]


def test_a_broken_set_is_replaced_but_for_the_key_of_the_tokens(made):
    kept = {name: content(made, name) for name in certificates.JWT}
    before = content(made, "ca.crt")
    write(made, "server/tls.key", b"")
    made.apply(made.read(), made.changes())
    assert made.changes() == []
    assert {name: content(made, name) for name in certificates.JWT} == kept
    assert content(made, "ca.crt") != before
    assert made.called == [("try-restart", "x")]
    assert sorted(os.listdir(os.path.dirname(made.name))) == ["bin", "config", "tls"]


def test_an_interrupted_exchange_is_finished(made, tmp_path):
    os.rename(made.name, f"{made.name}.old")
    kept = pathlib.Path(f"{made.name}.old/jwt/kid").read_bytes()
    assert list(fields(made)) == ["usable"]
    made.apply(made.read(), made.changes())
    assert content(made, "jwt/kid") == kept
    os.mkdir(f"{made.name}.old")
    assert fields(made) == {"exchange": "interrupted"}
    made.called.clear()
    made.apply(made.read(), made.changes())
    assert made.called == [("try-restart", "x")]
    assert made.changes() == []


def test_a_lost_key_of_tokens_is_replaced_only_where_no_sandbox_needs_it(made):
    write(made, "jwt/signing.pem", b"")
    os.makedirs(os.path.join(made.desired["tokens"], "a-sandbox"))
    with pytest.raises(ResourceError, match="Put it back from a backup"):
        made.apply(made.read(), made.changes())
    assert content(made, "jwt/signing.pem") == b""
    os.rmdir(os.path.join(made.desired["tokens"], "a-sandbox"))
    made.apply(made.read(), made.changes())
    assert made.changes() == []


def test_open_to_others(made):
    os.chmod(os.path.join(made.name, "client/tls.key"), 0o644)
    assert fields(made) == {"open to others": [os.path.join(made.name, "client/tls.key")]}
    made.apply(made.read(), made.changes())
    assert made.changes() == []
    assert made.called == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_link_leads_no_further_than_the_user_could_go(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_text("of root")
    secret.chmod(0o600)
    nobody = pwd.getpwnam("nobody")
    with pytest.raises(ResourceError, match=r"As the user nobody: .*Permission denied"):
        users.as_user(nobody, str_of, str(secret))
    with pytest.raises(ResourceError, match="Permission denied"):
        users.as_user(nobody, owned.write, str(tmp_path / "new/file"), "x", nobody)
    with monkeypatch.context() as patch:
        patch.setattr(users, "PATIENCE", 0.2)
        with pytest.raises(ResourceError, match="no answer"):
            users.as_user(nobody, time.sleep, 5)
    assert users.as_user(nobody, os.geteuid) == nobody.pw_uid


def str_of(path):
    return (owned.read(path) or b"").decode()
