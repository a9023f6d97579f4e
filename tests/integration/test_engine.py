# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without Docker is onboarded in one run; a sandbox has GPUs, and has them again after a change of the driver."""

from __future__ import annotations

import pytest

from tests.bed import images
from tests.bed.paths import TESTS
from tests.integration.fleet import ANSWER, Fleet, answer, changed, predicted, resources, unchanged

GPUS = "k8s-test-infra__hardware-qx-h100.xml"  # eight
SEES = "for device in nvidia0 nvidia1 nvidia2; do (echo x > /dev/$device) 2>/dev/null && echo $device; done"
PROCESS = "docker inspect --format '{{.State.Pid}}' $(docker ps --quiet --filter label=openshell.ai/sandbox-name=assistant)"
ENVIRONMENT = f"tr '\\0' '\\n' < /proc/$({PROCESS})/environ"


@pytest.fixture(scope="module")
def prepared(fleet) -> Fleet:
    """h2 with GPUs, two of which its sandbox is to have; h3 without Docker, but with the images that its user had."""
    fleet.touched.update(fleet.names)
    assert fleet.play("offboard.yml", limit="h2,h3").rc == 0
    fleet["h2"].install_gpus(GPUS)
    fleet["h3"].sh("DEBIAN_FRONTEND=noninteractive apt-get remove --yes -qq docker.io containerd runc && rm -f /run/docker.sock && ! command -v docker")
    fleet.change("h2", "nemoclaw_sandboxes", gpu=2)
    fleet.of_host["h3"] = {"nemoclaw_docker_source": "distribution", "nemoclaw_docker": {"registry_mirrors": ["https://mirror.example.org"]}}
    return fleet


def test_what_would_be_done_is_said(prepared):
    check = prepared.play("onboard.yml", limit="h2,h3", check=True, diff=True)
    assert check.rc == 0
    assert {"cdi/nvidia.com/gpu", "engine/docker"} <= resources(predicted(check, "h2"))
    assert {"packages/engine", "engine/docker"} <= resources(predicted(check, "h3"))
    assert prepared["h3"].exec("which", "dockerd", check=False).returncode != 0


def test_one_run(prepared):
    run = prepared.play("onboard.yml", limit="h2,h3", variables={"nemoclaw_allow_rebuild": True})
    assert run.rc == 0
    assert (answer(run, "h2"), answer(run, "h3")) == (ANSWER, ANSWER)
    again = prepared.play("onboard.yml", limit="h2,h3")
    assert unchanged(again, "h2")
    assert unchanged(again, "h3")


def test_the_sandbox_has_its_gpus(prepared):
    assert prepared.inside("h2", SEES, check=False).split() == ["nvidia0", "nvidia1"]
    found = prepared["h2"].sh(ENVIRONMENT).splitlines()
    assert sorted(line.partition("=")[0] for line in found if line.startswith("FAKE")) == ["FAKE_DRIVER", "FAKE_GPU_0", "FAKE_GPU_1"]


def test_another_driver(prepared):
    """The engine is restarted for it, which is said beforehand, and the sandbox is back with its files and its GPUs."""
    prepared.inside("h2", "echo kept > /sandbox/notes")
    prepared["h2"].install_gpus(GPUS, driver="600.10.01")
    check = prepared.play("onboard.yml", limit="h2", check=True, diff=True)
    stopped = next(change for change in predicted(check, "h2") if change["field"] == "running containers")
    assert "assistant" in stopped["before"]
    run = prepared.play("onboard.yml", limit="h2")
    assert run.rc == 0
    assert {"cdi/nvidia.com/gpu", "engine/docker"} <= changed(run, "h2")
    prepared.await_agent("h2")
    assert "FAKE_DRIVER=600.10.01" in prepared["h2"].sh(ENVIRONMENT)
    assert prepared.inside("h2", "cat /sandbox/notes") == "kept"
    assert unchanged(prepared.play("onboard.yml", limit="h2"), "h2")


def test_gpus_as_recorded(prepared, openshell):
    """What was recorded of GPUs takes an engine with CDI devices, so it is replayed on a host that has one."""
    host = prepared["h2"]
    host.load_images([images.SANDBOX])
    host.write_file("/root/replay/gpu.jsonl", (TESTS / "golden" / "transcripts" / "gpu.jsonl").read_text())
    host.sh("mkdir -p /root/replay/tests && touch /root/replay/tests/__init__.py && ln -sfn /usr/local/lib/openshell-emulator /root/replay/tests/emulator")
    host.install_gpus(GPUS)
    host.sh("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml")
    real = "" if openshell == TESTS / "emulator" / "bin" else "--real"
    said = host.sh(
        f"cd /root/replay && PYTHONDONTWRITEBYTECODE=1 OPENSHELL_BIN_DIR=/usr/local/bin python3 -m tests.emulator.replay gpu.jsonl {real}", check=False
    )
    assert said.splitlines()[-1] == "39 passed, 0 failed", said
