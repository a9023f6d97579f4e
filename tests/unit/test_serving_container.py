# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of model servers and their weights, as far as no engine is needed: what differs, and what a cache holds."""

from __future__ import annotations

import grp
import json
import os
import pwd

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.credential_file import CredentialFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.secret_file import SecretFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import container, weights
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.container import Container
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.weights import Weights

DESIRED = {"name": "model", "image": "image:1", "command": ["serve"], "publish": {"addresses": ["127.0.0.1"], "port": 8000, "target": 8000}, "health": {}}
REVISION = "e89b16eb"


def state(**more):
    found = {"ours": True, "spec": Container(DESIRED).spec, "state": "running", "restart": "unless-stopped", "secrets": "as they are", "interrupted": False}
    return {**found, "models": ["m"], **more}


@pytest.mark.parametrize(
    ("found", "fields"),
    [
        (state(), []),
        ({}, ["state"]),
        ({"interrupted": True}, ["state"]),
        (state(spec={**Container(DESIRED).spec, "command": ["serve", "other"]}), ["command"]),
        (state(state="exited"), ["state"]),
        (state(restart="no"), ["restart"]),
        (state(secrets="replaced since"), ["secrets"]),
        (state(interrupted=True), ["interrupted"]),
        (state(models=None), ["answers"]),
        (state(ours=False, spec={}), ["made by"]),
    ],
)
def test_what_differs(found, fields):
    assert [change.field for change in Container(DESIRED).diff(found)] == fields


def test_a_container_of_others_is_left_alone():
    with pytest.raises(ResourceError, match=r"not made by this collection.*docker rm --force model"):
        Container(DESIRED).apply(state(ours=False, spec={}), [])
    assert not Container({"name": "model", "state": "absent"}).diff(state(ours=False, spec={}))


def test_devices_as_the_engine_takes_them():
    pytest.importorskip("docker")
    cdi = {"CDISpecDirs": ["/etc/cdi"]}
    assert container.device_requests(["nvidia.com/gpu=0"], cdi)[0]["Driver"] == "cdi"
    old = container.device_requests(["nvidia.com/gpu=0", "nvidia.com/gpu=2"], {})[0]
    assert (old["Driver"], old["DeviceIDs"], old["Capabilities"]) == ("nvidia", ["0", "2"], [["gpu"]])
    assert container.device_requests(["nvidia.com/gpu=all"], {})[0]["Count"] == -1


def test_the_engines_time_stamps():
    assert container.seconds("1970-01-02T00:00:01.500000000Z") == pytest.approx(86401.5)


def test_a_secret_that_is_to_go_needs_no_size(tmp_path):
    (tmp_path / "key").write_text("0123")
    file = SecretFile({"path": str(tmp_path / "key"), "state": "absent"})
    file.apply(file.read(), file.diff(file.read()))
    assert not file.diff(file.read())


# --- weights ----------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot(tmp_path):
    folder = tmp_path / "hub" / "models--org--model" / "snapshots" / REVISION
    folder.mkdir(parents=True)
    return folder


def found(tmp_path):
    return Weights({"name": "org/model", "revision": REVISION, "cache_dir": str(tmp_path), "size_gb": 1}).read()


def test_weights_with_an_index_are_there_with_all_their_parts(tmp_path, snapshot):
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    (snapshot / "model-1.safetensors").write_text("x")
    assert not found(tmp_path)
    (snapshot / "model-2.safetensors").symlink_to("nowhere")
    assert not found(tmp_path)
    (snapshot / "nowhere").write_text("x")
    assert found(tmp_path)


def test_weights_in_one_file(tmp_path, snapshot):
    (snapshot / "model.safetensors").write_text("x")
    assert not found(tmp_path)
    (snapshot / "config.json").write_text("{}")
    assert found(tmp_path)


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path, snapshot):
    (tmp_path / "hub" / "models--org--model" / "blobs").mkdir()
    (tmp_path / "hub" / "models--org--model" / "blobs" / "0a.incomplete").write_bytes(b"x" * 1000)
    assert weights.size_of(str(tmp_path / "hub" / "models--org--model")) == 1000
    wanted = Weights({"name": "org/model", "revision": REVISION, "cache_dir": str(tmp_path), "size_gb": 10**6})
    with pytest.raises(ResourceError, match=r"take 1e\+06 GB, 0.0 GB of them are there, and .* GB are missing"):
        wanted.apply({}, [])


# --- the user's secrets -----------------------------------------------------------------------------------------------------------------------


def test_a_secret_is_in_no_change(tmp_path):
    owner, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    desired = {"path": str(tmp_path / "token"), "owner": owner, "group": group, "mode": "0600"}

    def changes(value):
        file = CredentialFile(desired, value)
        return file.diff(file.read())

    assert "hf_secret" not in str(changes("hf_secret"))
    CredentialFile(desired, "hf_secret").apply({}, [])
    assert not changes("hf_secret")
    assert [change.field for change in changes("hf_other")] == ["current"]
    assert not changes("")
