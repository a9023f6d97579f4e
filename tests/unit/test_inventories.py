# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example inventory gives a plan for every host, as it stands."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager

from tests.unit.test_plan import DATA, FACTS, run, template

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "inventories" / "example"
LOADER = DataLoader()
INVENTORY = InventoryManager(LOADER, sources=[str(EXAMPLE)])
SECRET = "sk-canary-1b7a"
GB300 = {"index": 0, "name": "NVIDIA GB300", "uuid": "GPU-1", "memory_mb": 256703, "mig": "disabled", "mig_devices": [], "unified": False, "coherent": True}


def facts_of(host: str) -> dict:
    """A station has a GPU and a newer engine; the others are what the plan's own tests plan for."""
    if not host.startswith("station"):
        return FACTS
    newer = json.loads((DATA.parent / "captures" / "hosts" / "debian13.json").read_text())
    gpu = {**newer["gpu"], "status": "ok", "platform": "station", "driver_version": "595.84", "gpus": [GB300]}
    return {**newer, "gpu": gpu, "cdi": {**newer["cdi"], "ctk": "/usr/bin/nvidia-ctk"}}


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """The function gives the variables of a host; what the example takes from the environment and from a vault is there."""
    for name in ("openshell", "openshell-gateway", "openshell-sandbox"):
        (tmp_path / name).write_text(name)
    monkeypatch.setenv("OPENSHELL_BIN_DIR", str(tmp_path))
    monkeypatch.setenv("COMPATIBLE_API_KEY", SECRET)
    return lambda host: {**VariableManager(LOADER, INVENTORY).get_vars(host=INVENTORY.get_host(host)), "vault_station_key": SECRET}


@pytest.mark.parametrize("host", [host.name for host in INVENTORY.get_hosts()])
def test_every_host_of_the_example_has_a_plan(variables, host):
    result = run(variables(host), facts=facts_of(host))
    assert "plan" in result, result["msg"]
    assert SECRET not in json.dumps(result)


def test_the_example_has_the_three_kinds_of_hosts():
    assert {"spark", "station", "linux_gpu"} <= set(INVENTORY.groups)


def test_groups_and_hosts_differ_as_they_say(variables):
    station = run(variables("station1.example.org"), facts=facts_of("station1.example.org"))["plan"]
    devices = {sandbox["name"]: sandbox["create"].get("cdi_devices", []) for sandbox in station["sandboxes"]}
    assert devices == {"research": ["nvidia.com/gpu=all"], "helper": []}
    assert run(variables("gpu1.example.org"))["plan"]["inference"]["provider"]["config"] == {"OPENAI_BASE_URL": "https://llm.example.org/v1"}
    assert run(variables("gpu2.example.org"))["plan"]["gateway"]["endpoint"] == "https://127.0.0.1:18080"


def test_without_the_key_it_says_which_is_missing(variables, monkeypatch):
    monkeypatch.delenv("COMPATIBLE_API_KEY")
    assert [error["variable"] for error in run(variables("spark1.example.org"))["errors"]] == ["nemoclaw_credentials.COMPATIBLE_API_KEY"]


def test_a_vault_that_is_missing_is_named(variables):
    given = {**variables("station1.example.org"), "vault_station_key": template("{{ never_made }}")}
    assert "nemoclaw_credentials" in run(given)["msg"]
