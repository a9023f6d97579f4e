# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama in the plan, by the memory of recorded GPUs; what the probe reads; what its own refusals, as a real one said them, mean to a user."""

from __future__ import annotations

import http.server
import io
import json
import re
import socket
import tarfile
import threading
import time
import typing

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import smi
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import servers
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.facts import gather
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama import api, program, server
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.model import OllamaModel, canonical
from tests.unit.test_host_probe import LIMITS
from tests.unit.test_plan import FACTS, plan, run

UNIT = {
    "name": "ollama.service",
    "path": "/etc/systemd/system/ollama.service",
    "state": "active",
    "enabled": "enabled",
    "pid": 812,
    "environment": {},
    "given": {},
    "models_dir": "/usr/share/ollama/.ollama/models",
}
MINE = {"address": "127.0.0.1", "user": "ollama", "pid": 812, "process": "ollama", "unit": "ollama.service", "program": "/usr/local/bin/ollama"}
FOUND = {
    "path": "/usr/local/bin/ollama",
    "version": "0.13.5",
    "unit": UNIT,
    "port": 11434,
    "listeners": [MINE],
    "running": "0.13.5",
    "models": [],
    "loaded": [],
}
GIVEN = {"nemoclaw_inference": {"provider": "ollama"}, "nemoclaw_sandboxes": [{"name": "assistant"}]}
NAMED = {**GIVEN, "nemoclaw_inference": {"provider": "ollama", "model": "tiny-agent"}}
RELEASE = {"source": "url", "version": "0.13.5", "checksum": "a" * 64}
LIST = "https://mirror/v{version}/sha256sum.txt"


L40S, T4 = {"name": "NVIDIA L40S", "memory_mb": 46068}, {"name": "Tesla T4", "memory_mb": 15360}
GB10 = {"name": "NVIDIA GB10", "memory_mb": None}  # as nvidia-smi has it


def facts(*gpus, platform="linux", memory_mb=131072, **found):
    """Facts of a host with these GPUs and with Ollama."""
    numbered = [{"index": index, "mig": "", "mig_devices": [], "coherent": False, "uuid": "", **gpu} for index, gpu in enumerate(gpus)]
    settled = smi.settle_memory(numbered, memory_mb, platform)
    gpu = {"status": "ok" if gpus else "none", "detail": "", "remedy": "", "platform": platform if gpus else "none", "gpus": settled}
    return {**FACTS, "memory_mb": memory_mb, "gpu": gpu, "servers": {"ollama": {**FOUND, **found}, "openai": []}}


def resource(made, kind):
    return next(entry for entry in made["serving"]["ollama"]["resources"] if entry["resource"] == kind)


def models(made):
    return [entry["name"] for entry in made["serving"]["ollama"]["resources"] if entry["resource"] == "ollama_model"]


@pytest.mark.parametrize(
    ("there", "model"),
    [
        (facts(L40S), "qwen3.6:35b"),
        (facts(GB10, platform="spark", memory_mb=122570), "qwen3.6:35b"),
        (facts(GB10, platform="spark", memory_mb=36000), "nemotron-3-nano:30b"),  # its memory is the host's, who needs some
        (facts(T4), "qwen3.5:9b"),
        (facts(T4, T4), "qwen3.6:35b"),  # a model may lie in several
        (facts(GB10, platform="jetson", memory_mb=122570), "qwen3.5:9b"),  # whatever its memory, it does not compute much
        (facts(), "qwen3.5:9b"),  # no GPU: the one that a CPU can bear
    ],
)
def test_the_default_model_is_the_largest_that_fits(there, model):
    made = plan(GIVEN, facts=there)
    assert models(made) == [model]
    assert made["inference"]["route"]["model"] == model


def test_it_stays_the_default_whatever_else_somebody_pulls():
    more = facts(L40S, models=[{"name": "nemotron-3-nano:30b", "size_mb": 18000, "digest": "b" * 64}])
    assert plan(GIVEN, facts=facts(L40S))["digest"] == plan(GIVEN, facts=more)["digest"]


@pytest.mark.parametrize(
    ("given", "there", "variable", "problem"),
    [
        (
            {"nemoclaw_inference": {"provider": "ollama", "model": "qwen3.6:35b"}},
            facts(T4),
            "nemoclaw_inference.model",
            "qwen3.6:35b takes 30000 MiB, and the GPUs have 15360 MiB; 14640 MiB are missing.",
        ),
        ({}, facts(memory_mb=7900), "nemoclaw_inference.model", "qwen3.5:9b takes 12000 MiB, there is no usable GPU, and the host has 7900 MiB."),
        (
            {"nemoclaw_inference": {"provider": "ollama", "model": "own:70b"}, "nemoclaw_ollama": {"models": [{"name": "own:70b", "memory_mb": 200000}]}},
            facts(GB10, platform="spark", memory_mb=122570),
            "nemoclaw_inference.model",
            "own:70b takes 200000 MiB, and NVIDIA GB10 shares 122570 MiB with the host, which leaves it 114378 MiB; 85622 MiB are missing.",
        ),
        (
            {"nemoclaw_inference": {"provider": "ollama", "model": "big"}},
            facts(T4, models=[{"name": "big:latest", "size_mb": 40000, "digest": ""}]),
            "nemoclaw_inference.model",
            "big takes 40000 MiB, and the GPUs have 15360 MiB",
        ),
        ({}, facts(path=""), "nemoclaw_ollama.source", "is present, and Ollama is not on this host."),
        ({}, facts(running="0.6.5"), "nemoclaw_ollama", "Ollama 0.6.5 on this host is older than 0.7.0."),
        ({"nemoclaw_ollama": RELEASE}, facts(path="/usr/bin/ollama"), "nemoclaw_ollama.source", "/usr/bin/ollama is on this host already, from elsewhere."),
        ({"nemoclaw_ollama": {**RELEASE, "checksum": {"aarch64": "a" * 64}}}, facts(), "nemoclaw_ollama.checksum", "the blueprint pins none"),
        (
            {},
            facts(listeners=[{**MINE, "address": "::", "user": "root", "pid": 4711, "unit": ""}]),
            "nemoclaw_ollama.port",
            "11434 is held by ollama (pid 4711, user root) on ::, which is not ollama.service; it is left alone.",
        ),
    ],
)
def test_what_a_host_cannot_do_is_refused(given, there, variable, problem):
    refused = run({**GIVEN, **given}, facts=there)
    found = {error["variable"]: error for error in refused.get("errors", [])}
    assert problem in found[variable]["problem"]
    assert found[variable]["remedy"]


@pytest.mark.parametrize(
    ("stranger", "stop"),
    [
        ({"process": "ollama", "unit": ""}, "Stop it ('kill 4711')"),
        ({"process": "docker-proxy", "unit": "docker.service"}, "Find the container with 'docker ps --filter publish=11434' and stop it,"),
    ],
)
def test_a_stranger_can_be_used_as_it_is(stranger, stop):
    """By a provider that takes it."""
    there = facts(listeners=[{**MINE, "pid": 4711, **stranger}])
    (error,) = run(GIVEN, facts=there)["errors"]
    use = "or use it as it is: nemoclaw_inference.provider vllm with the endpoint_url http://127.0.0.1:11434/v1."
    assert error["remedy"] == f"{stop} {use}"
    given = {**GIVEN, "nemoclaw_inference": {"provider": "vllm", "endpoint_url": "http://127.0.0.1:11434/v1"}}
    served = [{"port": 11434, "listeners": [], "key_needed": False, "models": [{"id": "tiny-agent:latest", "max_model_len": 0}]}]
    made = plan(given, facts={**there, "servers": {**there["servers"], "openai": served}})
    assert made["inference"]["route"]["model"] == "tiny-agent:latest"
    assert made["inference"]["key_file"]


def test_one_that_is_started_again_while_it_is_looked_at_is_no_stranger(monkeypatch):
    """systemd is asked for its process before the port is looked at."""
    again = {**MINE, "pid": 4711}
    made = plan(GIVEN, facts=facts(listeners=[again]))
    assert made["digest"] == plan(GIVEN, facts=facts())["digest"]
    monkeypatch.setattr(server.units, "properties", lambda *_names: {"LoadState": "loaded", "ActiveState": "active", "MainPID": "812"})
    monkeypatch.setattr(server.listeners, "read", lambda _host, _ports: [{"listeners": [again, {**again, "unit": "session-1.scope", "pid": 99}]}])
    found = server.OllamaServer(resource(made, "ollama")).read()
    assert found["addresses"] == ["127.0.0.1"]
    assert [one["pid"] for one in found["strangers"]] == [99]


@pytest.mark.parametrize(
    ("chosen", "variable"),
    [
        ({"state": "absent"}, "nemoclaw_ollama.state"),
        ({"source": "archive", "checksum": "a" * 64}, "nemoclaw_ollama.archive"),
        ({"source": "url", "checksum": "a" * 64}, "nemoclaw_ollama.version"),
        ({"checksum": "a" * 64}, "nemoclaw_ollama.checksum"),
        ({"source": "url", "url": "ftp://mirror/x.tgz", "checksum": "a" * 64}, "nemoclaw_ollama.url"),
        ({**RELEASE, "source": "archive", "archive": "/a.tgz", "checksum": LIST}, "nemoclaw_ollama.checksum"),
        ({**RELEASE, "checksum": LIST.replace("https", "http")}, "nemoclaw_ollama.checksum"),
        ({**RELEASE, "url": "http://mirror/a.tgz", "checksum": "http://other/sha256sum.txt"}, "nemoclaw_ollama.checksum"),
        ({**RELEASE, "checksum": "https://user:word@mirror/sha256sum.txt"}, "nemoclaw_ollama.checksum"),
        ({"models": ["one", "one:latest"]}, "nemoclaw_ollama.models"),
        ({"models": [{"name": "tiny-agent", "state": "absent"}]}, "nemoclaw_ollama.models"),
        ({"models": ["a b"]}, "nemoclaw_ollama.models"),
        ({"models": [{"name": "one", "digest": "short"}]}, "nemoclaw_ollama.models[0].digest"),
        ({"keep_alive": "for ever"}, "nemoclaw_ollama.keep_alive"),
        ({"context_length": 5}, "nemoclaw_ollama.context_length"),
        ({"registry": "https://mirror"}, "nemoclaw_ollama.registry"),
    ],
)
def test_a_mistake_is_named(chosen, variable):
    refused = run({**NAMED, "nemoclaw_ollama": chosen}, facts=facts())
    assert variable in [error["variable"] for error in refused["errors"]], refused["msg"]


def test_models_that_are_not_there_need_room():
    given = {**GIVEN, "nemoclaw_ollama": {"models": ["qwen3.5:9b", "own:70b"]}}  # of the last one nobody knows the size
    room = {"caches": {UNIT["models_dir"]: {"mount": "/", "free_gb": 20, "models": {}}}}
    refused = run(given, facts={**facts(L40S), **room})["msg"]
    assert "qwen3.6:35b 24.0 GB + the weights of qwen3.5:9b 6.6 GB = 30.6 GB are to come onto /, which has 20 GB free; 10.6 GB are missing." in refused
    there = [{"name": "qwen3.6:35b", "digest": "", "size_mb": 23000}]
    assert models(plan(given, facts={**facts(L40S, models=there), **room})) == ["qwen3.5:9b", "own:70b", "qwen3.6:35b"]


@pytest.mark.parametrize(("chosen", "seconds"), [({}, [120, 300]), ({"load_timeout": 1800}, [120, 1800]), ({"load_timeout": 60}, [60, 60])])
def test_how_long_a_model_may_take_to_load(chosen, seconds):
    made = plan({"nemoclaw_inference": {"provider": "ollama"}, "nemoclaw_ollama": chosen, "nemoclaw_sandboxes": []}, facts=facts(L40S))
    assert resource(made, "ollama_model")["load_timeouts"] == seconds


def test_a_model_that_does_not_load_in_time_says_which_time(listening, monkeypatch):
    monkeypatch.setattr(Answers, "do_POST", lambda _self: time.sleep(3), raising=False)
    with pytest.raises(ResourceError, match=r"big:latest was not loaded within 1 s\. Give it longer \(nemoclaw_ollama\.load_timeout\)"):
        OllamaModel({"name": "big", "url": f"http://127.0.0.1:{listening}", "load_timeouts": [1, 1]})._load()


@pytest.fixture
def hung(monkeypatch):
    """The port of a server that takes connections and says nothing; it is not waited for as long as a real one."""
    monkeypatch.setattr(api.Ollama._call, "__defaults__", (None, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as listening_:
        yield listening_.getsockname()[1]


def test_a_server_that_hangs_has_no_models(hung):
    """What is to be made is told, and who asks it for something hears what to do, which is not what to do about a pull."""
    model = OllamaModel({"name": "big", "url": f"http://127.0.0.1:{hung}"})
    assert model.read() == {}
    with pytest.raises(ResourceError, match=r"/api/tags was not answered within 0\.2 s\. .* where Ollama hangs, 'systemctl restart ollama'\."):
        model._listed()


def test_a_server_that_hangs_is_started_again(hung, listening, monkeypatch):
    monkeypatch.setattr(Answers, "says", {"/api/version": (200, '{"version": "0.13.5"}')})
    shown = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "MainPID": "812"}
    monkeypatch.setattr(server.units, "properties", lambda *_names: shown)
    monkeypatch.setattr(server.listeners, "read", lambda _host, _ports: [{"listeners": [MINE]}])
    for port, changes in ((hung, [("answers", False, True)]), (listening, [])):
        found = server.OllamaServer({"port": port, "unit": "", "timeout": 1})
        monkeypatch.setattr(server, "text_of", lambda path, made=found: made._settings if path == made.dropin else "")
        monkeypatch.setattr(server.units, "running_digest", lambda _pid, made=found: made._running)
        assert [(change.field, change.before, change.after) for change in found.changes()] == changes


def test_one_that_took_long_to_stop_has_its_time_to_start(listening, monkeypatch):
    began = time.time() - 90
    found = server.OllamaServer({"port": listening, "unit": "", "timeout": 2})
    answers = iter([False, True])
    monkeypatch.setattr(found, "_answers", lambda: next(answers))
    monkeypatch.setattr(found, "read", dict)
    monkeypatch.setattr(found, "diff", lambda _state: [])
    found._await(began)


@pytest.mark.parametrize(("keep_alive", "sent"), [("-1", -1), ("900", 900), ("15m", "15m"), (None, None)])
def test_how_long_a_model_stays_is_sent_as_ollama_reads_it(listening, monkeypatch, keep_alive, sent):
    """It takes a text for a time, which has a unit."""
    bodies = []

    def answer(self):
        bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    monkeypatch.setattr(Answers, "do_POST", answer, raising=False)
    monkeypatch.setattr(Answers, "says", {"/api/ps": (200, '{"models": []}')})
    OllamaModel({"name": "big", "url": f"http://127.0.0.1:{listening}", "load_timeouts": [5, 5], "keep_alive": keep_alive})._load()
    assert [body.get("keep_alive") for body in bodies] == [sent]


def test_a_model_is_pulled_from_a_mirror_under_its_own_name():
    chosen = {"registry": "mirror.example.org:5000", "models": ["team/one", "other.example.org/team/two:8b", {"name": "old", "state": "absent"}]}
    made = plan({**NAMED, "nemoclaw_ollama": chosen}, facts=facts())
    sources = {entry["name"]: entry["source"] for entry in made["serving"]["ollama"]["resources"] if entry["resource"] == "ollama_model"}
    assert sources == {
        "team/one:latest": "mirror.example.org:5000/team/one:latest",
        "other.example.org/team/two:8b": "other.example.org/team/two:8b",
        "old:latest": "mirror.example.org:5000/library/old:latest",
        "tiny-agent:latest": "mirror.example.org:5000/library/tiny-agent:latest",
    }


def test_the_context_is_the_agents_and_the_longer_one_that_is_there_stays():
    assert resource(plan(NAMED, facts=facts()), "ollama")["environment"]["OLLAMA_CONTEXT_LENGTH"] == "32768"
    unit = {**UNIT, "given": {"OLLAMA_CONTEXT_LENGTH": "65536"}}
    assert resource(plan(NAMED, facts=facts(unit=unit)), "ollama")["environment"]["OLLAMA_CONTEXT_LENGTH"] == "65536"
    given = {**NAMED, "nemoclaw_inference": {**NAMED["nemoclaw_inference"], "context_window": 40000}}
    made = plan(given, facts=facts(unit=unit))
    assert resource(made, "ollama")["environment"]["OLLAMA_CONTEXT_LENGTH"] == "40000"


def test_a_context_that_was_asked_for_is_taken_back():
    """What an earlier run has set is not the unit's own."""
    unit = {**UNIT, "environment": {"OLLAMA_CONTEXT_LENGTH": "65536"}}
    assert resource(plan(NAMED, facts=facts(unit=unit)), "ollama")["environment"]["OLLAMA_CONTEXT_LENGTH"] == "32768"


@pytest.mark.parametrize(
    ("window", "length", "provider", "refused"), [(65536, 40000, "ollama", True), (40000, 65536, "ollama", False), (65536, 40000, "nim", False)]
)
def test_a_window_that_models_are_not_loaded_for(window, length, provider, refused):
    given = {**NAMED, "nemoclaw_inference": {"provider": provider, "context_window": window}, "nemoclaw_ollama": {"state": "present", "context_length": length}}
    said = run(given, facts=facts()).get("msg", "")
    assert ("65536 tokens are more than the 40000 of nemoclaw_ollama.context_length" in said) == refused, said


def test_a_release_is_downloaded_for_the_hosts_architecture():
    made = plan({**NAMED, "nemoclaw_ollama": RELEASE}, facts={**facts(path=""), "arch": "aarch64"})
    found = resource(made, "ollama_program")
    assert found["url"].endswith("/v0.13.5/ollama-linux-arm64.tgz")
    assert found["path"] == "/usr/local/bin/ollama"
    compressed = {**RELEASE, "url": "https://mirror.example.org/{version}/ollama-{arch}.tar.zst"}
    made = plan({**NAMED, "nemoclaw_ollama": compressed}, facts=facts(path=""))
    assert resource(made, "ollama_program")["url"] == "https://mirror.example.org/0.13.5/ollama-amd64.tar.zst"
    assert "zstd" in resource(made, "packages")["packages"]


def test_a_back_end_that_is_there(tmp_path, monkeypatch):
    """Of the platform's, where this Ollama has it."""
    found = resource(plan(GIVEN, facts=facts(GB10, platform="spark", memory_mb=122570)), "ollama")
    assert found["library"] == "cuda_v13"
    assert resource(plan(GIVEN, facts=facts(L40S)), "ollama")["library"] == ""
    monkeypatch.setattr(server, "LIBRARIES", (str(tmp_path),))
    assert "LLM_LIBRARY" not in server.OllamaServer(found)._settings
    (tmp_path / "cuda_v13").mkdir()
    assert '"OLLAMA_LLM_LIBRARY=cuda_v13"' in server.OllamaServer(found)._settings
    assert '"OLLAMA_LLM_LIBRARY=mine"' in server.OllamaServer({**found, "environment": {"OLLAMA_LLM_LIBRARY": "mine"}})._settings


def test_absent():
    given = {"nemoclaw_ollama": {"state": "absent"}}
    made = plan(given, facts=facts())
    assert [(one["resource"], one["state"]) for one in made["serving"]["ollama"]["resources"]] == [("ollama", "absent"), ("ollama_program", "absent")]
    assert made["proxy"] == {}


# --- the probe ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("ollama version is 0.13.5\n", "0.13.5"),
        ("Warning: could not connect to a running Ollama instance\nWarning: client version is 0.13.5\n", "0.13.5"),
        ("ollama version is 0.12.6\nWarning: client version is 0.13.5\n", "0.13.5"),  # the server is another one
        ("Segmentation fault", ""),
    ],
)
def test_the_version_is_the_programs(said, version):
    assert servers.version_of(said) == version


def test_a_units_own_settings(tmp_path):
    """With ours, as it has them, and without."""
    shown = (
        'Environment=PATH=/usr/bin OLLAMA_HOST=127.0.0.1 "OLLAMA_ORIGINS=http://a http://b" TOKEN=secret\nLoadState=loaded\nActiveState=active\nUser=\n'
        "FragmentPath=/etc/systemd/system/ollama.service\nUnitFileState=enabled\nMainPID=812\n"
        "DropInPaths=/etc/systemd/system/ollama.service.d/override.conf /etc/systemd/system/ollama.service.d/zz-nemoclaw.conf\n"
    )
    folder = tmp_path / "etc/systemd/system"
    (folder / "ollama.service.d").mkdir(parents=True)
    (folder / "ollama.service").write_text("[Service]\nEnvironment=PATH=/usr/bin TOKEN=secret HOME=/usr/share/ollama\n")
    (folder / "ollama.service.d/override.conf").write_text('[Service]\nEnvironment=OLLAMA_HOST=0.0.0.0 \\\n  "OLLAMA_ORIGINS=http://a http://b"\n')
    (folder / "ollama.service.d/zz-nemoclaw.conf").write_text("[Service]\nEnvironment=OLLAMA_HOST=127.0.0.1 OLLAMA_MODELS=/srv\n")
    origins = {"OLLAMA_ORIGINS": "http://a http://b"}
    found = servers.unit_of(Host(str(tmp_path)), shown)
    assert found == {**UNIT, "environment": {"OLLAMA_HOST": "127.0.0.1", **origins}, "given": {"OLLAMA_HOST": "0.0.0.0", **origins}}
    assert servers.unit_of(Host(str(tmp_path)), "LoadState=not-found\nActiveState=inactive\n") == {}


@pytest.mark.parametrize(
    ("environment", "user", "directory"),
    [
        ("OLLAMA_MODELS=/data/models HOME=/root", "", "/data/models"),
        ("HOME=/srv/ollama", "", "/srv/ollama/.ollama/models"),
        ("", "root", "/root/.ollama/models"),
        ("OLLAMA_MODELS=%h/models", "", ""),  # systemd alone knows
        ("", "no-such-user", ""),
    ],
)
def test_where_a_unit_keeps_its_models(tmp_path, environment, user, directory):
    (tmp_path / "unit").write_text(f"[Service]\nEnvironment={environment}\n")
    assert servers.unit_of(Host(str(tmp_path)), f"LoadState=loaded\nFragmentPath=/unit\nUser={user}\n")["models_dir"] == directory


def test_the_room_there_is_a_fact_without_being_asked_for(tmp_path):
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/systemctl").write_text("#!/bin/sh\nprintf 'LoadState=loaded\\nFragmentPath=/unit\\n'\n")
    (tmp_path / "usr/bin/systemctl").chmod(0o755)
    (tmp_path / "unit").write_text("[Service]\nEnvironment=OLLAMA_MODELS=/data/models\n")
    assert gather(Host(str(tmp_path)), {**LIMITS, "users": []})["caches"]["/data/models"]["mount"] == "/"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Environment=A=1 B=2\nEnvironment=B=3\n", {"A": "1", "B": "3"}),
        ("Environment=A=1\nEnvironment=\nEnvironment=B=2\n", {"B": "2"}),
        ("#Environment=A=1\n; Environment=B=2\nEnvironment = 'C=3 4'\nEnvironmentFile=/etc/D\n", {"C": "3 4"}),
        ("Environment=A=1\nEnvironment=B='\n", {"A": "1"}),
    ],
)
def test_settings_in_the_files_of_a_unit(text, found):
    assert servers.environment_of(text) == found


class Answers(http.server.BaseHTTPRequestHandler):
    says: typing.ClassVar[dict] = {}

    def do_GET(self):
        status, body = self.says.get(self.path, (404, ""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def listening():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one.server_address[1]
        one.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, json.dumps({"data": [{"id": "org/m", "max_model_len": 4096, "owned_by": "vllm"}]}), {"key_needed": False, "models": 1}),
        (401, '{"error":"Unauthorized"}', {"key_needed": True, "models": 0}),
        (200, "<html>", {}),
        (200, "[1, 2]", {}),
        (500, "{}", {}),
    ],
)
def test_a_server_is_told_by_its_answer(listening, monkeypatch, status, body, found):
    monkeypatch.setattr(Answers, "says", {"/v1/models": (status, body)})
    server_ = servers.openai([{"address": "127.0.0.1"}], listening)
    assert {"key_needed": server_["key_needed"], "models": len(server_["models"])} == found if server_ else found == {}


def test_what_does_not_speak_http_is_no_server():
    assert servers.ask("127.0.0.1", 1, "/v1/models") == (0, {})


def test_proxy_of_the_environment_is_not_for_the_host_itself(listening, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(Answers, "says", {"/api/version": (200, '{"version": "0.13.5"}')})
    assert api.Ollama(f"http://127.0.0.1:{listening}").version() == "0.13.5"


# --- on the host --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ('pull model manifest: Get "http://127.0.0.1:1/v2/library/x/manifests/latest": dial tcp 127.0.0.1:1: connect: connection refused', "HTTPS_PROXY"),
        ("pull model manifest: file does not exist", "name and tag"),
        ('pull model manifest: Get "https://127.0.0.1:25001/v2/": tls: first record does not look like a TLS handshake', "nemoclaw_ollama.insecure"),
        ("write /srv/models/blobs/sha256-80-partial: no space left on device", "nemoclaw_ollama.models_dir"),
        ("model 'tiny' not found", "name and tag"),
        ("something new", "journalctl"),
    ],
)
def test_a_refusal_says_what_to_do(said, remedy):
    error = api.refused("one cannot be pulled", said)
    assert said.rstrip(".") in error.message
    assert remedy in error.remedy


def test_settings_are_words_of_a_unit_file():
    assert server.quoted('A=x "y" 100% \\') == '"A=x \\"y\\" 100%% \\\\"'


def test_names_have_a_tag():
    assert [canonical(name) for name in ("one", "one:8b", "host:5000/a/one")] == ["one:latest", "one:8b", "host:5000/a/one:latest"]
    assert [canonical(name) for name in ("library/one", "registry.ollama.ai/library/one:8b")] == ["one:latest", "one:8b"]
    assert [canonical(name) for name in ("registry.ollama.ai/team/one", "hf.co/library/one")] == ["team/one:latest", "hf.co/library/one:latest"]


@pytest.mark.parametrize(("name", "link"), [("../../etc/passwd", ""), ("lib/x", "../../../etc"), ("bin/x", "/etc/shadow")])
def test_an_archive_that_leads_out_of_itself_is_refused(tmp_path, name, link):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        member = tarfile.TarInfo(name if name.startswith(("bin", "lib")) else f"bin/{name}")
        member.type, member.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
        archive.addfile(member, io.BytesIO())
    if link:
        with pytest.raises(ResourceError, match="leads out of it"):
            program.unpack(str(tmp_path / "a.tgz"), "a.tgz", str(tmp_path / "out"))
    else:
        program.unpack(str(tmp_path / "a.tgz"), "a.tgz", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("chosen", "checksums"),
    [
        ({"checksum": LIST}, "https://mirror/v0.13.5/sha256sum.txt"),
        ({"url": "http://mirror/{arch}.tgz", "checksum": "http://mirror/{arch}.txt"}, "http://mirror/amd64.txt"),
    ],
)
def test_a_list_of_checksums(chosen, checksums):
    """The service is another one when it is another list."""
    made = plan({**NAMED, "nemoclaw_ollama": {**RELEASE, **chosen}}, facts=facts())
    found = resource(made, "ollama_program")
    assert (found["checksums"], found["sha256"]) == (checksums, "")
    assert resource(made, "ollama")["program"] == program.contents(found) == f"{found['url']} by {checksums}"


@pytest.fixture
def release(tmp_path):
    """A server with a release of a program that says its version, and its list of checksums; the program, as a plan has it."""
    folder = tmp_path / "release"
    folder.mkdir()
    script = b"#!/bin/sh\necho ollama version is 0.13.5\n"
    with tarfile.open(folder / "ollama-linux-amd64.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("bin/ollama")
        member.size, member.mode = len(script), 0o755
        archive.addfile(member, io.BytesIO(script))
    digest = sha256(str(folder / "ollama-linux-amd64.tgz"))
    (folder / "sha256sum.txt").write_text(f"{'0' * 64}  ./ollama-linux-arm64.tgz\n{digest}  ./ollama-linux-amd64.tgz\n")
    handler = type("Handler", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_arguments: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: handler(*given, directory=str(folder))) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.server_port}"
        wanted = {"source": "url", "prefix": str(tmp_path / "local"), "minimum": "0.7.0", "version": "0.13.5", "archive": "ollama-linux-amd64.tgz"}
        yield folder, {**wanted, "sha256": "", "url": f"{url}/ollama-linux-amd64.tgz", "checksums": f"{url}/sha256sum.txt"}
        listening.shutdown()


def install(wanted):
    resource_ = program.Program(wanted)
    state = resource_.read()
    changes = resource_.diff(state)
    if changes:
        resource_.apply(state, changes)
    return [change.field for change in changes]


def test_an_archive_by_its_line_in_a_list(release, tmp_path):
    """Asked for once; another list is another release, a program that was changed is made anew."""
    folder, wanted = release
    assert install(wanted) == ["release"]
    (folder / "sha256sum.txt").rename(folder / "another.txt")
    assert install(wanted) == []
    assert install({**wanted, "checksums": wanted["checksums"].replace("sha256sum", "another")}) == ["release"]
    (tmp_path / "local/bin/ollama").write_text("#!/bin/sh\n")
    (folder / "another.txt").rename(folder / "sha256sum.txt")
    assert install(wanted) == ["release"]
    assert install({**wanted, "sha256": sha256(str(folder / "ollama-linux-amd64.tgz")), "checksums": ""}) == []


@pytest.mark.parametrize("before", [True, False])
def test_a_program_that_was_there_before_is_not_taken_away(release, tmp_path, before):
    """The unit that it is of stays, too, and would have nothing to start."""
    _folder, wanted = release
    path = tmp_path / "local/bin/ollama"
    if before:
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\necho ollama version is 0.6.5\n")
    assert install(wanted) == ["release"]
    path.write_text("changed by somebody")
    assert install(wanted) == ["release"], "a second time it is one of ours"
    assert install({**wanted, "state": "absent"}) == ["state"]
    assert install({**wanted, "state": "absent"}) == []
    assert path.exists() == (tmp_path / "local/lib/ollama").exists() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "sha256sum.txt cannot be downloaded: HTTP status 404. Check nemoclaw_ollama.checksum, or give the SHA-256 of the archive itself."),
        ("", "has no line for ollama-linux-amd64.tgz, nor for anything else. Nothing was changed."),
        (f"{'0' * 64} *OllamaSetup.exe\n", "has no line for ollama-linux-amd64.tgz; it has OllamaSetup.exe. Nothing was changed."),
        (f"{'0' * 64}  a/ollama-linux-amd64.tgz\n{'1' * 64}  b/ollama-linux-amd64.tgz\n", "has several digests of ollama-linux-amd64.tgz."),
        (f"{'0' * 64}  ollama-linux-amd64.tgz\n", f", expected is {'0' * 64}. Nothing was changed."),
    ],
)
def test_a_list_that_does_not_vouch_for_the_archive(release, tmp_path, text, said):
    """Nothing of the archive is unpacked."""
    folder, wanted = release
    (folder / "sha256sum.txt").unlink() if text is None else (folder / "sha256sum.txt").write_text(text)
    with pytest.raises(ResourceError, match=re.escape(said)):
        install(wanted)
    assert not [path for path in (tmp_path / "local").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OLLAMA_HOST", "0.0.0.0", "set nemoclaw_ollama.port"),
        ("OLLAMA_MODELS", "/data", "set nemoclaw_ollama.models_dir"),
        ("OLLAMA_CONTEXT_LENGTH", 8192, "set nemoclaw_ollama.context_length"),
        ("NOTE", "a\nExecStart=/bin/true", "has several lines"),
        ("REGISTRY_TOKEN", "x", "looks like a secret"),
    ],
)
def test_settings_that_the_service_does_not_get(name, value, said):
    (error,) = run({**NAMED, "nemoclaw_ollama": {"environment": {name: value, "OLLAMA_FLASH_ATTENTION": 1}}}, facts=facts())["errors"]
    assert error["variable"] == f"nemoclaw_ollama.environment.{name}"
    assert said in f"{error['problem']} {error['remedy']}"


@pytest.mark.parametrize(
    ("unit", "chosen", "mount"),
    [
        ({}, {}, "/var"),  # to be made
        ({**UNIT, "models_dir": "/var/lib/ollama/models"}, {}, "/var"),
        (UNIT, {}, "/usr"),
        (UNIT, {"models_dir": "/srv/models"}, "/srv"),
        ({**UNIT, "models_dir": ""}, {}, ""),  # nobody knows
    ],
)
def test_room_for_a_model_is_asked_for_where_it_is_put(unit, chosen, mount):
    places = {"/var/lib/ollama": "/var", "/var/lib/ollama/models": "/var", UNIT["models_dir"]: "/usr", "/srv/models": "/srv"}
    caches = {place: {"mount": one, "free_gb": 5, "models": {}} for place, one in places.items()}
    found = {**facts(L40S, unit=unit, listeners=[MINE] if unit else []), "caches": caches}
    said = run({**GIVEN, "nemoclaw_ollama": chosen}, facts=found).get("msg", "")
    assert (f"onto {mount}, which has 5 GB free; 19 GB are missing" in said.replace("19.0", "19")) == bool(mount), said


def test_a_removal_that_was_interrupted_goes_on(tmp_path):
    """What says that the program is ours is beside the libraries, which go last."""
    libraries = tmp_path / "lib" / "ollama"
    libraries.mkdir(parents=True)
    (libraries / "nemoclaw.json").write_text('{"program": "0a"}')
    ours = program.Program({"state": "absent", "source": "present", "prefix": str(tmp_path)})
    ours.apply(ours.read(), ours.diff(ours.read()))
    assert not libraries.exists()
    assert not ours.diff(ours.read())


@pytest.mark.parametrize(("name", "there"), [("Library/Tiny:1", True), ("registry.ollama.ai/library/tiny:1", True), ("hf.co/library/tiny:1", False)])
def test_a_model_by_another_spelling_of_its_name(monkeypatch, name, there):
    """As a real Ollama lists it; it takes all of these for one, and would be asked to pull it at every run."""
    found = OllamaModel({"name": name, "url": "http://127.0.0.1:1"})
    monkeypatch.setattr(found.server, "models", lambda: [{"name": "tiny:1", "digest": "0a", "size": 1}])
    monkeypatch.setattr(found.server, "loaded", lambda: [{"name": "tiny:1"}])
    assert (found.diff(found.read()) == []) == there
    assert found.read().get("loaded", False) == there


def test_a_model_that_does_not_appear(monkeypatch):
    found = OllamaModel({"name": "tiny", "url": "http://127.0.0.1:1", "stall_timeout": 1})
    monkeypatch.setattr(found.server, "models", lambda: [{"name": "other:latest", "digest": "0a", "size": 1}])
    monkeypatch.setattr(found.server, "pull", lambda *_arguments: None)
    with pytest.raises(ResourceError, match="tiny:latest was pulled, and Ollama does not list it"):
        found.apply(found.read(), found.diff(found.read()))
