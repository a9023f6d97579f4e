# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks share: the tree as a collection, at the path that Ansible's own tools ask for."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.bed.paths import CACHE, CHECKOUT


@pytest.fixture(scope="session")
def tree():
    """A copy of the checkout's files (without ignored ones) at …/ansible_collections/nemoclaw/fleet: a symlink there would be resolved."""
    target = CACHE / "tree" / CHECKOUT.name / "ansible_collections" / "nemoclaw" / "fleet"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=CHECKOUT, capture_output=True, check=True
    ).stdout
    present = b"\0".join(name for name in listed.split(b"\0") if name and (CHECKOUT / name.decode()).exists())
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    subprocess.run(
        ["rsync", "--archive", "--checksum", "--from0", "--files-from=-", f"{CHECKOUT}/", f"{target}/"],
        input=present,
        check=True,
    )
    return target
