# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests belong together when several processes share them (pytest -n): those of one fleet in their order, those that share a tree."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from xdist.scheduler import LoadScopeScheduling

# the modules of tests/integration by the hosts that they are on; the others are on the fleet with OpenClaw
HOSTS = {
    "quick": ("test_offboard", "test_upgrade", "test_gateways", "test_engine", "test_drills"),  # three, with an agent that starts at once
    "single": ("test_enforcement", "test_rebuild", "test_blueprint"),  # one, with that agent
    "served": ("test_ollama", "test_nim", "test_proxy"),  # another one, with servers of its own
    "recent": ("test_vllm", "test_vllm_cpu", "test_containerd"),  # another one, whose engine knows CDI devices
}


def hosts(module: str) -> str:
    return next((name for name, modules in HOSTS.items() if module in modules), "openclaw")


def group(nodeid: str) -> str:
    path = PurePosixPath(nodeid.partition("::")[0])
    if path.parent.name == "integration":
        return hosts(path.stem)
    if path.stem == "test_molecule":  # every scenario has hosts of its own; one goes with the replays, for four processes of one length
        return "test_replay" if "[preflight]" in nodeid else nodeid
    return path.stem if path.stem == "test_replay" else path.parent.name


class Groups(LoadScopeScheduling):
    """A process takes a whole group at a time. xdist's own groups are marks that this pytest does not know how to carry."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """The recordings, which mostly wait, are begun first: at the end the other processes would wait for them."""
    items.sort(key=lambda item: group(item.nodeid) != "test_replay")


@pytest.hookimpl
def pytest_xdist_make_scheduler(config, log):
    return Groups(config, log)
