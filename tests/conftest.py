# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests belong together when several processes share them (pytest -n): those of one fleet in their order, those that share a tree."""

from __future__ import annotations

import pytest


def group(item: pytest.Item) -> str:
    folder, module = item.path.parent.name, item.path.stem
    if folder == "integration":
        return "quick" if "quick" in item.fixturenames else "fleet"
    if module == "test_molecule":
        return item.nodeid  # every scenario has hosts of its own
    return module if module == "test_replay" else folder


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
