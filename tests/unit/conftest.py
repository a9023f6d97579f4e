# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests import the collection by its full name; where nobody made that possible (tests/bed/bootstrap.sh does), a link outside the checkout does."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def importable() -> bool:
    try:
        return importlib.util.find_spec("ansible_collections.nemoclaw.fleet") is not None
    except ModuleNotFoundError:
        return False


if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))
if not importable():
    _LINK = tempfile.TemporaryDirectory(prefix="nemoclaw-collections-")  # lives as long as this process
    _parent = Path(_LINK.name) / "ansible_collections" / "nemoclaw"
    _parent.mkdir(parents=True)
    (_parent / "fleet").symlink_to(CHECKOUT)
    sys.path.insert(0, _LINK.name)


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
