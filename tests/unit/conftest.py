# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests import the collection by its full name; where nobody made that possible (tests/bed/bootstrap.sh does), a link outside the checkout does."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader

CHECKOUT = Path(__file__).resolve().parents[2]


def collections() -> str:
    """A directory that holds ansible_collections/nemoclaw/fleet."""
    found = next((entry for entry in sys.path if Path(entry, "ansible_collections/nemoclaw/fleet").is_dir()), None)
    if found is None:
        found = _LINK.name
        parent = Path(found, "ansible_collections", "nemoclaw")
        parent.mkdir(parents=True)
        (parent / "fleet").symlink_to(CHECKOUT)
        sys.path.insert(0, found)
    return found


if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))
_LINK = tempfile.TemporaryDirectory(prefix="nemoclaw-collections-")  # gone with this process
init_plugin_loader([collections()])  # before anything of the collection is imported: lookups and modules are then found by their full names


@pytest.fixture(autouse=True, scope="session")
def locks(tmp_path_factory):
    """What is locked is a host's; tests leave nothing on this machine."""
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import alone

    alone.LOCKS = str(tmp_path_factory.mktemp("locks"))


@pytest.fixture
def openshell(tmp_path, monkeypatch):
    """A function that makes a client whose calls are answered by ``run``; its owner is the user of the tests, at home in a directory of the test."""
    import os
    import pwd

    from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import client as module

    me = pwd.getpwuid(os.getuid())
    account = pwd.struct_passwd((me.pw_name, "x", me.pw_uid, me.pw_gid, "", str(tmp_path), "/bin/sh"))
    monkeypatch.setattr(module.pwd, "getpwnam", lambda name: account if name == "nemoclaw" else pwd_missing(name))
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    program = tmp_path / "bin" / "openshell"
    program.parent.mkdir()
    program.touch(mode=0o755)

    def make(run, gateway="nemoclaw", owner="nemoclaw"):
        return module.OpenShell(owner, gateway, str(program.parent), run)

    return make


def pwd_missing(name):
    raise KeyError(name)
