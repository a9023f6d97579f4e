# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/preparing-hosts.md lists the checks there are, with their severities and repairs."""

from __future__ import annotations

import ast
import fnmatch
import inspect
import pathlib
import re

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import installed
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks import engine, gpu, kernel, network, ports, storage, suite, system
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks import installed as installed_checks

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "preparing-hosts.md"
MODULES = (engine, gpu, installed_checks, kernel, network, ports, storage, system)
NOT_A_REPAIR = {"always"}


def rows() -> dict[str, tuple[set[str], set[str]]]:
    """Check -> (severities, repairs), as the page has them."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").partition("## Checks")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0].startswith("`"):
            for name in re.findall(r"`([^`]+)`", cells[0]):
                found[name] = (set(cells[1].split(", ")), set(re.findall(r"\w+", cells[4])) - NOT_A_REPAIR)
    return found


def written() -> set[str]:
    """The names that the checks' sources give to results; what is computed in one stands as an asterisk."""
    names = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("result", "enough", "_resolves") and node.args):
                continue
            first = node.args[0]
            if isinstance(first, ast.Constant):
                names.add(first.value)
            elif isinstance(first, ast.JoinedStr):
                names.add("".join(part.value if isinstance(part, ast.Constant) else "*" for part in first.values))
    programs = {name.replace("-", "_") for name in installed.BINARIES}
    return names | programs | {f"{name}_unusable" for name in programs} | {"port_*"}


def test_every_check_has_its_row():
    assert sorted(rows()) == sorted(written())


def test_every_check_of_a_module_is_run():
    functions = {
        function
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and list(inspect.signature(function).parameters) == ["facts", "limits"] and not name.startswith("_")
    }
    assert functions == set(suite.CHECKS)


@pytest.mark.parametrize("repair", suite.REPAIRS)
def test_what_repairs_it_is_said(repair):
    assert {name for name, (_severities, repairs) in rows().items() if repair in repairs} == set(suite.REPAIRS[repair])


def test_severities_are_those_of_the_tests():
    """Every fault that tests/unit/test_host_probe.py makes has a severity that the page names for it."""
    from tests.unit import test_host_probe as probe

    facts = probe.on_hardware(probe.recorded("debian12"))
    (faults,) = [mark.args[1] for mark in probe.test_fault.pytestmark if mark.name == "parametrize"]
    seen: dict[str, set[str]] = {}
    for path, value, *_rest in faults:
        for name, fault in probe.failed(probe.change(facts, path, value)).items():
            seen.setdefault(name, set()).add(fault["severity"])
    page = rows()
    assert len(seen) > 30
    for name, severities in seen.items():
        (row,) = [pattern for pattern in page if fnmatch.fnmatch(name, pattern)]
        assert severities <= page[row][0], name
