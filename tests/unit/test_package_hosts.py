# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host's package clients get their packages from, read from their own files; a password in a URL stays there."""

from __future__ import annotations

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import package_hosts
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

FILES = {
    "/etc/pip.conf": """\
[global]
index-url = https://user:geheim@mirror.example.org/simple
extra-index-url =
    https://two.example.org:8443/simple
    http://three.example.org/s
""",
    "/home/nemoclaw/.npmrc": "registry=https://npm.example.org/\n@own:registry=https://own.example.org:4873/\n//npm.example.org/:_authToken=geheim\n",
    "/etc/homebrew/brew.env": """\
HOMEBREW_API_DOMAIN=https://brew.example.org/api
HOMEBREW_BREW_GIT_REMOTE=https://git.example.org/brew
HOMEBREW_NO_ANALYTICS=1
""",
}


@pytest.fixture
def host(tmp_path, monkeypatch):
    for _files, _key, variables in package_hosts.CLIENTS.values():
        for name in variables:
            monkeypatch.delenv(name, raising=False)

    def with_files(files):
        for path, text in files.items():
            (tmp_path / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.lstrip("/")).write_text(text)
        return Host(str(tmp_path))

    return with_files


def test_of_every_client(host):
    found = package_hosts.read(host(FILES), ["/root", "/home/nemoclaw"])
    assert found == {
        "pypi": ["mirror.example.org", "three.example.org:80", "two.example.org:8443"],
        "npm": ["npm.example.org", "own.example.org:4873"],
        "brew": ["brew.example.org", "git.example.org"],
    }
    assert "geheim" not in str(found)


def test_a_client_without_configuration_is_left_out(host):
    assert package_hosts.read(host({}), ["/root"]) == {}


def test_the_environment(host, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://env.example.org/simple")
    assert package_hosts.read(host({}), []) == {"pypi": ["env.example.org"]}


@pytest.mark.parametrize("url", ["http://localhost:3141/simple", "http://127.0.0.1:3141/", "file:///srv/packages", "https://[::1", "${HOST}/simple", ""])
def test_what_no_sandbox_reaches(url):
    assert package_hosts.host_of(url) == ""
