# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks share: the tree as a collection, and long commands as tests."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.bed import images
from tests.bed.paths import CACHE, CHECKOUT
from tests.bed.play import callbacks


@pytest.fixture(scope="session")
def tree():
    """A copy of the checkout's files (without ignored ones) at …/ansible_collections/nemoclaw/fleet: a symlink there would be resolved."""
    target = CACHE / "tree" / CHECKOUT.name / "ansible_collections" / "nemoclaw" / "fleet"
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    present = b"\0".join(name for name in listed.split(b"\0") if name and (CHECKOUT / name.decode()).exists())
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    subprocess.run(
        ["rsync", "--archive", "--checksum", "--from0", "--files-from=-", f"{CHECKOUT}/", f"{target}/"],
        input=present,
        check=True,
    )
    return target


def run(argv: list[str]) -> subprocess.CompletedProcess:
    environment = {**os.environ, **(callbacks("built") if argv[0] == "molecule" else {}), "NO_COLOR": "1"}
    return subprocess.run(argv, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3600, check=False)


@pytest.fixture(scope="session")
def sandbox_image() -> None:
    """This machine's engine has the image that recordings make their sandboxes from."""
    images.load(images.SANDBOX)


@pytest.fixture
def done(request) -> subprocess.CompletedProcess:
    """How the command ended that is this fixture's parameter.

    Recordings hold delays of seconds, which a machine busy with other tests can miss: what failed is run once more.
    """
    ended = run(request.param)
    return ended if ended.returncode == 0 else run(request.param)
