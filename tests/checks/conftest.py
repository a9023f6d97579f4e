# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks share: the tree as a collection, and the long commands that run beside everything else.

Replays and Molecule scenarios are mostly waiting, for many minutes in all. They begin with the session, one after the other; their tests come last.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.bed import images
from tests.bed.paths import CACHE, CHECKOUT

BESIDE = pytest.StashKey()


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
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(argv, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1200, check=False)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    beside = {item: item.callspec.params["done"] for item in items if "done" in getattr(item, "fixturenames", ())}
    items[:] = [item for item in items if item not in beside] + list(beside)
    if beside and not config.option.collectonly:
        pool = ThreadPoolExecutor(max_workers=1)
        pool.submit(images.load, images.SANDBOX)
        config.stash[BESIDE] = pool, {item: pool.submit(run, argv) for item, argv in beside.items()}


@pytest.fixture
def done(request) -> subprocess.CompletedProcess:
    """How the command ended that is this fixture's parameter; waits for it.

    Recordings hold delays of seconds, which a machine busy with the other tests can miss: what failed is run once more, after all others.
    """
    pool, begun = request.config.stash[BESIDE]
    ended = begun[request.node].result()
    return ended if ended.returncode == 0 else pool.submit(run, request.param).result()


def pytest_unconfigure(config):
    if BESIDE in config.stash:
        config.stash[BESIDE][0].shutdown(cancel_futures=True)
