# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of model servers and their weights, as far as no engine is needed: what differs, and what a cache holds."""

from __future__ import annotations

import grp
import json
import os
import pwd
import threading
from types import SimpleNamespace

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import alone
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.credential_file import CredentialFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.secret_file import SecretFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.engine import SPEC
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import container, served
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.container import Container
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.endpoint import Endpoint
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.nim import NimServer
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.vllm import VllmServer
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


@pytest.mark.parametrize(("left", "found"), [([], False), (["model-before"], True), (["model-trial"], True)])
def test_what_an_interrupted_replacement_left(monkeypatch, left, found):
    """A trial holds its GPUs until somebody ends it."""
    there = {
        "Config": {"Labels": {SPEC: "{}"}},
        "State": {"Status": "exited", "StartedAt": "1970-01-02T00:00:01.5Z"},
        "HostConfig": {"RestartPolicy": {"Name": "no"}},
    }
    monkeypatch.setattr(container, "inspect", lambda name: there if name in ["model", *left] else {})
    assert Container(DESIRED).read()["interrupted"] == found


@pytest.mark.parametrize(
    ("fits_twice", "before", "after", "beside"),
    [(True, "0.4", "0.4", True), (True, "0.7", "0.4", False), (True, "0.3", "0.4", True), (False, "0.3", "0.7", False)],
)
def test_a_vllm_is_tried_beside_one_that_leaves_it_room(fits_twice, before, after, beside):
    def server(share):
        common = {"name": "vllm", "image": "vllm:1", "key_file": "/key", "cache_dir": "/cache", "load_timeout": 1, "side_by_side": fits_twice}
        return VllmServer({**common, "command": ["serve", "org/model", "--gpu-memory-utilization", share]})

    assert server(after)._beside(server(before).spec) == beside


@pytest.mark.parametrize(
    ("refused", "said"),
    [("", "was started again, but does not answer yet"), ("no such device: nvidia.com/gpu=0", "cannot be started again: no such device: nvidia.com/gpu=0.")],
)
def test_why_the_new_one_failed_is_said_whatever_becomes_of_the_old_one(monkeypatch, refused, said):
    docker = pytest.importorskip("docker")
    done = []

    def start(name):
        done.append(name)
        if refused:
            raise docker.errors.APIError("500", explanation=refused)

    def fail():
        raise ResourceError("The new one ended before it answered.", "Change it.")

    monkeypatch.setattr(container, "connect", lambda: SimpleNamespace(rename=lambda *names: done.append(names), start=start))
    monkeypatch.setattr(container, "inspect", lambda name: {"State": {"Running": False}})
    monkeypatch.setattr(container, "remove", lambda name: None)
    with pytest.raises(ResourceError) as caught:
        Container({**DESIRED, "health": {"timeout": 1}})._settle(fail)
    assert caught.value.message.startswith("The new one ended before it answered.")
    assert said in caught.value.message
    assert done == [("model-before", "model"), "model"]


def test_a_container_of_others_is_left_alone():
    with pytest.raises(ResourceError, match=r"not made by this collection.*docker rm --force model"):
        Container(DESIRED).apply(state(ours=False, spec={}), [])
    assert not Container({"name": "model", "state": "absent"}).diff(state(ours=False, spec={}))


class Engine:
    """One container that ends again and again, with a policy to start it: the engine takes it for a running one all the while."""

    def __init__(self, errors):
        self.there, self.done, self.errors = True, [], errors

    def inspect_container(self, name):
        if not self.there or name != "model":
            raise self.errors.NotFound("no such container")
        return {"State": {"Status": "restarting", "Running": True, "Restarting": True, "ExitCode": 1}, "NetworkSettings": {"Ports": {}}}

    def logs(self, name, tail):
        return b"CUDA out of memory\n"

    def restart(self, name):
        self.done.append("restart")

    def remove_container(self, name, force, v):
        """Two at once: somebody else's removal is on its way."""
        self.done.append("remove")
        self.there = len(self.done) < 2
        if self.there:
            raise self.errors.APIError(f"removal of container {name} is already in progress")
        raise self.errors.NotFound("no such container")


@pytest.fixture
def engine(monkeypatch):
    errors = pytest.importorskip("docker.errors")
    monkeypatch.setattr(container, "PAUSE", 0.01)
    engine = Engine(errors)
    monkeypatch.setattr(container, "connect", lambda: engine)
    return engine


def test_a_server_that_ends_again_and_again_is_started_anew_and_its_last_words_are_said(engine):
    wanted = Container({**DESIRED, "health": {"timeout": 5}})
    found = state(state="restarting", spec=wanted.spec)
    with pytest.raises(ResourceError, match=r"(?s)The container model ended before it answered \(exit code 1\).*CUDA out of memory"):
        wanted.apply(found, wanted.diff(found))
    assert engine.done == ["restart"]


def test_a_log_that_cannot_be_read_hides_nothing(engine, monkeypatch):
    """Of an engine that sends its logs elsewhere: the failure is one to take the container before back for."""

    def logs(name, tail):
        raise engine.errors.APIError("500", explanation="configured logging driver does not support reading")

    monkeypatch.setattr(engine, "logs", logs)
    with pytest.raises(ResourceError, match=r"The container model ended before it answered \(exit code 1\). There is no log of it."):
        Container({**DESIRED, "health": {"timeout": 5}})._await("model")


def test_what_others_have_made_since_stays(monkeypatch):
    """What is left of ours beside it goes."""
    removed = []
    monkeypatch.setattr(container, "remove", removed.append)
    Container({"name": "model", "state": "absent"})._apply(state(ours=False, spec={}, interrupted=True))
    assert removed == ["model-trial", "model-before"]


def test_a_container_that_somebody_else_removes(engine):
    container.remove("model")
    assert engine.done == ["remove", "remove"]


@pytest.fixture
def nim(tmp_path, monkeypatch):
    """A NIM of one image that was told to serve as org/model; by its further settings."""
    monkeypatch.setattr(served, "DIRECTORY", str(tmp_path))
    told = {"name": "nim", "image": "nim:1", "model": "org/model", "key_file": "/key", "cache_dir": "/cache", "port": 8000, "load_timeout": 1}
    return lambda **more: NimServer({**told, **more})


@pytest.mark.parametrize(("models", "known"), [(["org/model"], "org/model"), (["adapter", "org/model"], "org/model"), (["own/id", "an adapter"], "own/id")])
def test_an_id_that_is_adopted_is_known_from_then_on(nim, models, known):
    """For as long as image and wish are the same."""
    server = nim(adopt=True)
    served.keep("nim", "nim:1", "org/model", server._id_of("nim", models))
    found = {**state(spec=server.spec, models=models), "served": server.served}
    assert server.served == known
    assert server.diff(found) == []
    assert [change.field for change in server.diff({**found, "models": ["another"]})] == ["model"]
    assert nim(adopt=True, model="org/other").served == "org/other"
    assert nim(adopt=True, image="nim:2").served == nim().served == "org/model"


def test_the_id_is_the_first_that_is_listed(nim, monkeypatch):
    """Adapters come after the model, whatever their names."""
    listed = {"data": [{"id": "own/id"}, {"id": "an adapter"}, {"id": "adapter", "aliases": ["a"]}]}
    monkeypatch.setattr(Endpoint, "_list", lambda _endpoint: listed)
    server = nim(adopt=True)
    assert server._id_of("nim", server.models()) == "own/id"
    assert server.models() == ["own/id", "an adapter", "adapter", "a"]


def test_the_id_is_of_the_answer_that_was_waited_for(nim, monkeypatch):
    """A busy server may leave the next question without one."""
    answers = iter([None, ["own/id"]])
    running = {"State": {"Running": True}, "NetworkSettings": {"Ports": {"8000/tcp": [{"HostPort": "8000"}]}}}
    monkeypatch.setattr(container, "inspect", lambda name: running)
    monkeypatch.setattr(container, "PAUSE", 0)
    monkeypatch.setattr(NimServer, "_log", lambda *given: [])
    monkeypatch.setattr(NimServer, "models", lambda *given: next(answers, None))
    server = nim(adopt=True)
    server._await("nim")
    assert server.served == "own/id"


def test_ids_that_are_not_adopted(nim):
    for adopt in (True, False):
        with pytest.raises(ResourceError, match="serves 'a b', an id that is refused for its characters"):
            nim(adopt=adopt)._id_of("nim", ["a b", "own/id"])
    with pytest.raises(ResourceError, match=r"serves own/id, not org/model. Set nemoclaw_nim.served_model to own/id"):
        nim()._id_of("nim", ["own/id"])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_record_that_says_nothing(nim, text):
    with open(served.path_of("nim"), "w", encoding="utf-8") as stream:
        stream.write(text)
    assert (served.all_of(), nim(adopt=True).served) == ({}, "org/model")


def test_what_is_known_goes_with_the_server(nim):
    gone = NimServer({"name": "nim", "state": "absent"})
    assert gone.diff({"record": True}) != []
    assert gone.diff({}) == []
    served.keep("nim", "nim:1", "org/model", "own/id")
    served.forget("nim")
    assert served.all_of() == {}


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


@pytest.mark.parametrize("name", ["model-{}-of-00003.safetensors", "model-Q4_K_M-{}-of-00003.gguf"])
def test_weights_without_an_index_are_there_with_all_their_parts(tmp_path, snapshot, name):
    """A download that broke off may have lacked the index, too."""
    (snapshot / "config.json").write_text("{}")
    (snapshot / "consolidated.safetensors").write_text("x")
    for part in ("00001", "00002", "00003"):
        (snapshot / name.format(part)).write_text("x")
        assert bool(found(tmp_path)) == (part == "00003")


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path, snapshot):
    (tmp_path / "hub" / "models--org--model" / "blobs").mkdir()
    (tmp_path / "hub" / "models--org--model" / "blobs" / "0a.incomplete").write_bytes(b"x" * 1000)
    (tmp_path / "hub" / "models--org--model" / "blobs" / "0b").touch()
    os.truncate(tmp_path / "hub" / "models--org--model" / "blobs" / "0b", 10**8)
    other = snapshot.with_name("another")
    other.mkdir()
    (other / "model.safetensors").symlink_to("../../blobs/0b")
    wanted = Weights({"name": "org/model", "revision": REVISION, "cache_dir": str(tmp_path), "size_gb": 10**6})
    with pytest.raises(ResourceError, match=r"take 1e\+06 GB, 0.0 GB of them are there, and .* GB are missing"):
        wanted.apply({}, [])


# --- two at once ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def another(monkeypatch):
    """Has another run at work on something, which comes to its end, where it does what it is given, once somebody waits for it."""
    waiting, running = threading.Event(), []
    monkeypatch.setattr(alone.Progress, "say", lambda *_said, **_how: waiting.set())

    def work(name, done):
        began = threading.Event()

        def run():
            with alone.alone(name):
                began.set()
                waiting.wait(10)
                done()

        running.append(threading.Thread(target=run))
        running[-1].start()
        began.wait(10)

    yield work
    waiting.set()
    for thread in running:
        thread.join()


def test_weights_that_another_run_fetches_are_not_fetched_twice(another, tmp_path, snapshot):
    """Its download would be removed in the middle."""
    another("nemoclaw-download-org-model", lambda: [(snapshot / name).write_text("{}") for name in ("config.json", "model.safetensors")])
    Weights({"name": "org/model", "revision": REVISION, "cache_dir": str(tmp_path), "size_gb": 10**6}).apply({}, [])


def test_a_server_that_another_run_replaces_is_looked_at_again(another, monkeypatch):
    """Halfway it looks as if that run had been interrupted, and its server would be taken back."""
    now = [{"interrupted": True}]
    monkeypatch.setattr(Container, "read", lambda self: now[0])
    another("model", lambda: now.__setitem__(0, state()))
    wanted = Container(DESIRED)
    wanted.apply(wanted.read(), wanted.changes())
    assert not wanted.changes()


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
