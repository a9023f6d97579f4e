# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run on unchanged hosts costs, as a ratio to two pings a host in the same minute. Needs the fleet of `make demo`.

Counts are asserted, times are only reported: they are those of the machine.
"""

from __future__ import annotations

import resource
import statistics
from pathlib import Path

import pytest

from tests.bed.hosts import Bed
from tests.bed.paths import CHECKOUT
from tests.bed.play import module_counts, play

PAIRS = 5
DEMO = CHECKOUT / "inventories" / "demo"


@pytest.fixture(scope="module")
def demo():
    if any(host.state() != "running" for host in Bed("demo", 3).hosts):
        pytest.skip("the demo fleet does not run; start it with `make demo`")
    assert play("onboard.yml", DEMO).rc == 0


def timed(playbook) -> tuple[float, float]:
    """Seconds, and CPU seconds of the controller."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = play(playbook, DEMO, environment={"BUILT_MODULES": ""})  # as a user's run, which packs its modules
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.rc == 0, run.output
    assert run.changed == 0
    assert all(sum(count.values()) == 2 for host, count in module_counts(run).items() if host), module_counts(run)
    return run.seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_unchanged_against_two_pings(demo, capsys):
    pairs = [(timed(Path(__file__).with_name("baseline.yml")), timed("onboard.yml")) for _pair in range(PAIRS)]
    walls = [ours[0] / base[0] for base, ours in pairs]
    cpus = [ours[1] / base[1] for base, ours in pairs]
    with capsys.disabled():
        print(f"\nunchanged onboard / two pings, {PAIRS} pairs, median: wall {statistics.median(walls):.2f}, controller CPU {statistics.median(cpus):.2f}")
        print(f"  wall: {statistics.median(p[0][0] for p in pairs):.2f} s -> {statistics.median(p[1][0] for p in pairs):.2f} s for 3 hosts")
