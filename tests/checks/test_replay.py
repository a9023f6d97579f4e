# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator answers as the real OpenShell did when it was recorded; with `make e2e`, the real one still does.

A replay is mostly waiting, for minutes in all: it begins with the session (conftest.py) and runs beside the other checks.
"""

from __future__ import annotations

import re

import pytest

from tests.bed.paths import TESTS

TRANSCRIPTS = sorted((TESTS / "golden" / "transcripts").glob("*.jsonl"))


def pytest_generate_tests(metafunc):
    kind = pytest.param("real", marks=pytest.mark.real) if metafunc.config.getoption("--require-real", False) else "emulator"
    metafunc.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
    metafunc.parametrize("kind", [kind])


def test_answers_as_recorded(replays, kind, transcript):
    done = replays(kind, transcript)
    said = (done.stdout + done.stderr)[-6000:]
    assert done.returncode == 0, said
    passed, failed = map(int, re.search(r"(\d+) passed, (\d+) failed", said).groups())
    assert failed == 0
    assert passed > 0 or "skipped" in said  # a scenario that ran no step says that it is out of reach
