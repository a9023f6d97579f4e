# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet for the tests: three hosts at their fixed addresses, on the emulator and, where it is, on the real OpenShell.

Tests of a module share the hosts and may build on one another in the order they are written; `fleet.renew()` gives fresh ones.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.bed.hosts import Bed, Host
from tests.bed.paths import TESTS
from tests.bed.play import Play, inventory, play

EMULATOR = TESTS / "emulator" / "bin"
BINARIES = Path(os.environ.get("OPENSHELL_BIN_DIR") or EMULATOR)
REAL = BINARIES.resolve() != EMULATOR.resolve()


def pytest_addoption(parser):
    parser.addoption("--require-real", action="store_true", help="fail, rather than leave out, what needs the real OpenShell")
    parser.addoption("--keep-bed", action="store_true", help="leave the test hosts running afterwards")


def pytest_configure(config):
    if config.getoption("--require-real") and not REAL:
        raise pytest.UsageError(
            "OPENSHELL_BIN_DIR: no real OpenShell found; set it to the directory that holds openshell, openshell-gateway and openshell-sandbox"
        )


@pytest.fixture(scope="session", params=["emulator", pytest.param("real", marks=pytest.mark.real)])
def openshell(request) -> Path:
    """Directory of the three programs; every test that uses a fleet runs once with each kind that is there."""
    if request.param == "emulator":
        return EMULATOR
    if not REAL:
        pytest.skip("no real OpenShell in OPENSHELL_BIN_DIR or on PATH")
    return BINARIES


class Fleet:
    """Test hosts and an inventory of them."""

    def __init__(self, bed: Bed, binaries: Path, directory: Path):
        self.bed = bed
        self.binaries = binaries
        self.inventory = directory / "hosts.json"
        self.variables: dict = {}

    def __getitem__(self, name: str) -> Host:
        return self.bed[name]

    @property
    def hosts(self) -> list[Host]:
        return self.bed.hosts

    def play(self, playbook: str, *arguments, **options) -> Play:
        """Run a playbook on the fleet with `variables` (and ``variables=`` of this run on top); other options as tests.bed.play.play takes them."""
        self.inventory.write_text(json.dumps(inventory(self.bed, self.variables)))
        options["environment"] = {"OPENSHELL_BIN_DIR": str(self.binaries), **options.get("environment", {})}
        return play(playbook, self.inventory, *arguments, **options)

    def renew(self, *names: str) -> None:
        """Make hosts anew (all if none is named)."""
        for host in self.hosts:
            if not names or host.name in names:
                host.remove()
        self.bed.up(report=lambda text: None)


@pytest.fixture(scope="session")
def fleet(openshell, request, tmp_path_factory):
    """Three fresh hosts: h1 and h3 Debian 12, h2 Debian 13; taken down at the end of the session or before the other OpenShell's turn."""
    bed = Bed("test", 3)
    bed.down()
    bed.up()
    yield Fleet(bed, openshell, tmp_path_factory.mktemp("fleet"))
    if not request.config.getoption("--keep-bed"):
        bed.down()
