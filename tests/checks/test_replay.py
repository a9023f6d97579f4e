# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator answers as the real OpenShell did when it was recorded; and where the real one is, it still answers so."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.bed import images
from tests.bed.paths import TESTS

TRANSCRIPTS = sorted((TESTS / "golden" / "transcripts").glob("*.jsonl"))


@pytest.fixture(scope="session", autouse=True)
def sandbox_image():
    images.load(images.SANDBOX)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
def test_emulator_answers_as_recorded(transcript):
    done = subprocess.run(
        [sys.executable, "-m", "tests.emulator.replay", transcript], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
    )
    said = (done.stdout + done.stderr)[-6000:]
    assert done.returncode == 0, said
    # a scenario that ran no step proves nothing; one wholly out of reach says so
    passed, failed = map(int, re.search(r"(\d+) passed, (\d+) failed", said).groups())
    assert failed == 0
    assert passed > 0 or "skipped" in said
