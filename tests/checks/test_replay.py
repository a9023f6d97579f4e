# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator answers as the real OpenShell did when it was recorded; with `make e2e`, the real one still does.

A replay is mostly waiting.
"""

from __future__ import annotations

import re
import sys

import pytest

from tests.bed.paths import TESTS

TRANSCRIPTS = sorted((TESTS / "golden" / "transcripts").glob("*.jsonl"))


def pytest_generate_tests(metafunc):
    real = metafunc.config.getoption("--require-real", False)
    replay = [sys.executable, "-m", "tests.emulator.replay", *(["--real"] if real else [])]
    marks = [pytest.mark.real] if real else []
    metafunc.parametrize("done", [pytest.param([*replay, str(path)], id=path.stem, marks=marks) for path in TRANSCRIPTS], indirect=True)


@pytest.mark.usefixtures("sandbox_image")
def test_answers_as_recorded(done):
    said = (done.stdout + done.stderr)[-6000:]
    assert done.returncode == 0, said
    passed, failed = map(int, re.search(r"(\d+) passed, (\d+) failed", said).groups())
    assert failed == 0
    assert passed > 0 or "skipped" in said  # a scenario that ran no step says that it is out of reach
