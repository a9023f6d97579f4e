# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet for the tests: three hosts at their fixed addresses, on the real OpenShell where it is, else on the emulator.

The modules run in the order of a host's life and share the hosts; within a module each test builds on those before it. A module can also be run alone.
With several processes (pytest -n) each has the hosts that a module is on (tests/conftest.py).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bed.hosts import Bed
from tests.bed.paths import TESTS
from tests.conftest import HOSTS, hosts
from tests.integration.fleet import Fleet, QuickFleet

EMULATOR = TESTS / "emulator" / "bin"
BINARIES = Path(os.environ.get("OPENSHELL_BIN_DIR") or EMULATOR)
BED = os.environ.get("NEMOCLAW_BED", "test")  # another one for two runs at once
SUFFIXES = {"openclaw": "", **{name: f"-{name}" for name in HOSTS}}
REAL = BINARIES.resolve() != EMULATOR.resolve()
ORDER = ("test_bad_input", "test_onboard", "test_changes", "test_survival", *(module for modules in HOSTS.values() for module in modules))


def pytest_addoption(parser):
    parser.addoption("--openshell", choices=["emulator", "real", "both"], help="what the fleets run; without it the real one where it is, else the emulator")
    parser.addoption("--require-real", action="store_true", help="fail, rather than leave out, what needs the real OpenShell")
    parser.addoption("--keep-bed", action="store_true", help="start with the test hosts that are there, and leave them running")


def pytest_configure(config):
    if (config.getoption("--require-real") or config.getoption("--openshell") in ("real", "both")) and not REAL:
        raise pytest.UsageError(
            "OPENSHELL_BIN_DIR: no real OpenShell found; set it to the directory that holds openshell, openshell-gateway and openshell-sandbox"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    ours.sort(key=lambda item: ORDER.index(item.path.stem))  # stable: within a module as written
    items[:] = ours + [item for item in items if item not in ours]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Hosts that no test of this process is on any more take no room and no time from the others."""
    result = yield
    mine, following = (one and one.path.parent == Path(__file__).parent and hosts(one.path.stem) for one in (item, nextitem))
    if mine and mine != following and not item.config.getoption("--keep-bed"):
        Bed(BED + SUFFIXES[mine]).down()
    return result


def pytest_generate_tests(metafunc):
    if "openshell" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--openshell") or ("real" if REAL else "emulator")
        kinds = {"emulator": "emulator", "real": pytest.param("real", marks=pytest.mark.real)}
        metafunc.parametrize("openshell", [kinds[kind] for kind in kinds if chosen in (kind, "both")], indirect=True, scope="session")


@pytest.fixture(scope="session")
def openshell(request) -> Path:
    """Directory of the three programs."""
    if request.param == "emulator":
        return EMULATOR
    if not REAL:
        pytest.skip("no real OpenShell in OPENSHELL_BIN_DIR or on PATH")
    return BINARIES


def fresh_fleet(kind, name, openshell, request, tmp_path_factory, **of_bed):
    """Fresh hosts, taken down after the last test that is on them, or before the other OpenShell's turn."""
    keep = request.config.getoption("--keep-bed")
    bed = Bed(BED + SUFFIXES[name], **of_bed)
    if not keep:
        bed.down()
    fleet = kind(bed, openshell, tmp_path_factory.mktemp("fleet"))
    fleet.up()
    yield fleet
    if not keep:
        bed.down()


@pytest.fixture(scope="session")
def openclaw(openshell, request, tmp_path_factory):
    """A fleet with OpenClaw."""
    yield from fresh_fleet(Fleet, "openclaw", openshell, request, tmp_path_factory)


@pytest.fixture(scope="session")
def quick(openshell, request, tmp_path_factory):
    """A fleet with an agent that starts at once, beside the other one."""
    yield from fresh_fleet(QuickFleet, "quick", openshell, request, tmp_path_factory)


@pytest.fixture(scope="session")
def single(openshell, request, tmp_path_factory):
    """One host with the quick agent, for what needs no second one."""
    yield from fresh_fleet(QuickFleet, "single", openshell, request, tmp_path_factory, hosts=1)


@pytest.fixture(scope="session")
def served(openshell, request, tmp_path_factory):
    """Another one, for servers of its own."""
    yield from fresh_fleet(QuickFleet, "served", openshell, request, tmp_path_factory, hosts=1)


@pytest.fixture(scope="session")
def recent(openshell, request, tmp_path_factory):
    """The same with an engine that knows CDI devices."""
    yield from fresh_fleet(QuickFleet, "recent", openshell, request, tmp_path_factory, hosts=1, suites=("trixie",))


@pytest.fixture(scope="module")
def fleet(openshell, request) -> Fleet:
    """The hosts of a test module."""
    return request.getfixturevalue(hosts(request.path.stem))


@pytest.fixture(scope="module")
def fresh(fleet) -> Fleet:
    """The fleet with every host as it was before anything ran on it."""
    fleet.fresh()
    return fleet


@pytest.fixture(scope="module")
def onboarded(fleet) -> Fleet:
    """The fleet with every host onboarded."""
    fleet.onboarded()
    return fleet
