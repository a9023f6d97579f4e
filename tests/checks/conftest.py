# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks share: the tree as a collection, and the replays that run beside them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.bed import images
from tests.bed.paths import CACHE, CHECKOUT

REPLAYS = pytest.StashKey()


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


def replay(kind: str, transcript) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "tests.emulator.replay", transcript, *(["--real"] if kind == "real" else [])]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Start the replays that are asked for, one after the other."""
    wanted = [(item.callspec.params["kind"], item.callspec.params["transcript"]) for item in items if item.path.name == "test_replay.py"]
    if wanted and not config.option.collectonly:
        pool = ThreadPoolExecutor(max_workers=1)
        pool.submit(images.load, images.SANDBOX)
        config.stash[REPLAYS] = pool, {key: pool.submit(replay, *key) for key in wanted}


@pytest.fixture
def replays(request):
    """Waits for the replay of (kind, transcript); returns the process as it ended.

    Recordings hold delays of seconds, which a machine busy with the other checks can miss: one that failed is replayed once more, after all others.
    """
    pool, started = request.config.stash[REPLAYS]

    def result(kind: str, transcript) -> subprocess.CompletedProcess:
        done = started[kind, transcript].result()
        return done if done.returncode == 0 else pool.submit(replay, kind, transcript).result()

    return result


def pytest_unconfigure(config):
    if REPLAYS in config.stash:
        config.stash[REPLAYS][0].shutdown(cancel_futures=True)
