# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that leaves its images to containerd, as new installations of Docker do: they have other ids, and lie elsewhere."""

from __future__ import annotations

import json

import pytest

from tests.integration.fleet import ANSWER, Fleet, answer, unchanged

pytestmark = pytest.mark.long

ROOT = "/var/lib/docker/of-containerd"  # on the host's volume: an overlay does not lie on an overlay


@pytest.fixture(scope="module")
def modern(fleet) -> Fleet:
    fleet.fresh()
    fleet.touched.add("h1")
    host = fleet["h1"]
    host.sh("systemctl stop docker.socket docker containerd && mkdir -p /etc/containerd /etc/docker")
    host.write_file("/etc/containerd/config.toml", f'version = 2\nroot = "{ROOT}"\n')
    host.write_file("/etc/docker/daemon.json", json.dumps({"features": {"containerd-snapshotter": True}}))
    host.sh("systemctl start containerd docker")
    fleet.provide("h1")
    assert host.sh("docker info --format '{{.Driver}}'") == "overlayfs"
    return fleet


def test_one_run(modern):
    run = modern.play("onboard.yml")
    assert run.rc == 0
    assert answer(run, "h1") == ANSWER
    assert unchanged(modern.play("onboard.yml"), "h1")


def test_its_images_are_looked_for_where_they_lie(modern):
    run = modern.play("preflight.yml")
    [found] = [result["facts"] for result in run.of_host("h1", "nemoclaw.fleet.host_probe")]
    assert (found["docker"]["image_store"], found["image_root"], found["data_root"]) == ("containerd", ROOT, "/var/lib/docker")
    assert found["disks"][ROOT]["purpose"] == "images"
    assert modern["h1"].sh(f"ls {ROOT}/io.containerd.content.v1.content/blobs") == "sha256"


def test_reboot(modern):
    modern["h1"].reboot()
    modern.await_agent("h1")
    assert unchanged(modern.play("onboard.yml"), "h1")


def test_offboarding_leaves_what_was_there(modern):
    run = modern.play("offboard.yml")
    assert run.rc == 0
    assert {name.partition(":")[0] for name in modern["h1"].sh("docker image ls --format '{{.Repository}}:{{.Tag}}'").split()} == {
        "quick-agent", "nemoclaw-bed/sandbox", "nf/sandbox",
    }  # fmt: skip
    assert json.loads(modern["h1"].read_file("/etc/docker/daemon.json"))["features"] == {"containerd-snapshotter": True}
