# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""With `make e2e`: the real OpenShell answers to every bad and good policy, every preset and every tier as it did when it was recorded."""

from __future__ import annotations

import sys

import pytest

COMMAND = [sys.executable, "-m", "tests.golden.record_policies", "--compare"]


def pytest_generate_tests(metafunc):
    real = metafunc.config.getoption("--require-real", False)
    metafunc.parametrize("done", [pytest.param(COMMAND, id="recorded", marks=pytest.mark.real)] if real else [], indirect=True)


@pytest.mark.usefixtures("sandbox_image")
def test_policies_are_judged_as_recorded(done):
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
