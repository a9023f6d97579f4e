# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration on the disk and the nginx that runs: put right where somebody has removed it, taken back where nginx does not take it."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import proxy as serving
from tests.bed import images
from tests.proxy.conftest import OTHER, TOKEN, Nginx, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of a configuration are root's")
# of nginx-core 1.18, which has neither the module nor the option -e
LACKING = """\
nginx: [alert] could not open error log file: open() "/var/log/nginx/error.log" failed (13: Permission denied)
2026/11/30 02:26:06 [emerg] 18388#18388: unknown directive "secure_link" in /etc/nemoclaw/proxy/conf-x/nginx.conf:32
nginx: configuration file /etc/nemoclaw/proxy/conf-x/nginx.conf test failed
"""


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def tested(tmp_path, monkeypatch):
    """What the resource calls as nginx."""
    monkeypatch.setattr(serving, "NGINX", script(tmp_path / "nginx", f'exec {" ".join(images.program("nginx"))} -e stderr "$@"'))


@pytest.fixture
def applied(backend, tmp_path, tested):
    """An nginx whose configuration the resource has made; systemd's part is this test's."""
    found = Nginx(tmp_path, backend)
    (tmp_path / "token").write_text(TOKEN)
    converge(of(found))
    found.run("conf/nginx.conf")
    yield found
    found.stop()


def of(nginx):
    folder = str(nginx.directory)
    tokens = [f"{folder}/token", f"{folder}/token.next"]
    paths = {"directory": folder, "runtime": folder}
    return serving.Proxy({"name": "test-proxy", "user": "root", **paths, "config": nginx.config(), "listens": [], "tokens": tokens, "tls": {}})


def converge(proxy):
    state = proxy.read()
    proxy.apply(state, proxy.diff(state))


def statuses(nginx):
    return [nginx.ask(token=token).status for token in (TOKEN, OTHER)]


def folders(nginx):
    return [path.name for path in nginx.directory.glob("conf-*")]


@pytest.fixture
def reloads(applied, monkeypatch):
    calls = []

    def systemctl(how, unit, check=True):
        calls.append((how, unit))
        applied.process.send_signal(signal.SIGHUP)

    monkeypatch.setattr(serving, "systemctl", systemctl)
    return calls


@pytest.fixture
def deaf(monkeypatch):
    """A reload that changes nothing."""
    monkeypatch.setattr(serving, "systemctl", lambda *words, **options: "")
    monkeypatch.setattr(serving, "RELOAD_TIMEOUT", 0.3)


def lose(nginx, what):
    if what != "link":
        for folder in folders(nginx):
            shutil.rmtree(nginx.directory / folder)
    if what != "folder":
        (nginx.directory / "conf").unlink()


def test_a_second_token_is_read_in_a_reload(applied, reloads):
    assert statuses(applied) == [200, 401]
    (applied.directory / "token.next").write_text(OTHER)
    converge(of(applied))
    assert reloads == [("reload", "test-proxy.service")]
    eventually(lambda: statuses(applied) == [200, 200])
    assert of(applied).changes() == []
    assert folders(applied) == [os.readlink(applied.directory / "conf")]


@pytest.mark.parametrize("what", ["link", "folder", "both"])
def test_what_somebody_has_removed_is_made_again(applied, reloads, what):
    lose(applied, what)
    converge(of(applied))
    assert reloads == [("reload", "test-proxy.service")]
    assert of(applied).changes() == []
    assert statuses(applied) == [200, 401]


def test_one_that_nginx_does_not_take_is_taken_back(applied, deaf):
    before = os.readlink(applied.directory / "conf")
    (applied.directory / "token").write_text(OTHER)
    with pytest.raises(ResourceError, match="does not take the new configuration; the one from before is in force"):
        converge(of(applied))
    assert os.readlink(applied.directory / "conf") == before
    assert statuses(applied) == [200, 401]
    assert [change.field for change in of(applied).changes()] == ["accepted.conf"]


def test_without_one_before_none_is_left(applied, deaf):
    lose(applied, "both")
    (applied.directory / "token").write_text(OTHER)
    with pytest.raises(ResourceError, match="does not take the new configuration"):
        converge(of(applied))
    assert not os.path.lexists(applied.directory / "conf")
    assert statuses(applied) == [200, 401]


@pytest.mark.parametrize(
    ("said", "reason", "remedy"),
    [
        (LACKING, 'refuses the configuration: unknown directive "secure_link" in /etc', "the package nginx-extras has it"),
        ("nginx: [emerg] bind() failed", "refuses the configuration: bind() failed", "The one from before is in force."),
        ("Killed", "refuses the configuration: Killed", "The one from before is in force."),
    ],
)
def test_one_that_nginx_refuses_leaves_nothing(backend, tmp_path, monkeypatch, said, reason, remedy):
    (tmp_path / "said").write_text(said)
    monkeypatch.setattr(serving, "NGINX", script(tmp_path / "nginx", f"cat {tmp_path}/said >&2; exit 1"))
    nginx = Nginx(tmp_path, backend)
    (tmp_path / "token").write_text(TOKEN)
    with pytest.raises(ResourceError) as refused:
        converge(of(nginx))
    assert reason in refused.value.message
    assert "alert" not in refused.value.message
    assert remedy in refused.value.remedy
    assert not folders(nginx)
    assert not os.path.lexists(nginx.directory / "conf")


def test_nothing_is_left_of_one_that_goes(applied):
    gone = serving.Proxy({"name": "test-proxy", "directory": str(applied.directory), "runtime": str(applied.directory), "state": "absent"})
    converge(gone)
    assert not folders(applied)
    assert gone.changes() == []
