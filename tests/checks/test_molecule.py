# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every Molecule scenario: a role alone, on hosts of its own."""

from __future__ import annotations

import pytest

from tests.bed.paths import CHECKOUT

SCENARIOS = sorted(path.parent.name for path in (CHECKOUT / "molecule").glob("*/molecule.yml"))


@pytest.mark.parametrize("done", [["molecule", "test", "--scenario-name", name] for name in SCENARIOS], ids=SCENARIOS, indirect=True)
def test_scenario(done):
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
