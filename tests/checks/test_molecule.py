# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every Molecule scenario: a role alone, on hosts of its own."""

from __future__ import annotations

import pytest

from tests.bed import ollama
from tests.bed.paths import CHECKOUT

SCENARIOS = sorted(path.parent.name for path in (CHECKOUT / "molecule").glob("*/molecule.yml"))
LACKING = {"local_inference": ollama.missing()}  # what this machine has no way to make
LONG = ("engine", "proxy")  # tests/integration/test_engine.py, test_proxy.py and tests/proxy have most of it


def marks(name: str) -> list:
    return [pytest.mark.skipif(bool(LACKING.get(name)), reason=LACKING.get(name, "")), *([pytest.mark.long] if name in LONG else [])]


@pytest.mark.parametrize("done", [pytest.param(["molecule", "test", "--scenario-name", name], id=name, marks=marks(name)) for name in SCENARIOS], indirect=True)
def test_scenario(done):
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
