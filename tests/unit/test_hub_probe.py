# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""hub_probe against the hub that the real `hf download` fetches from in test_vllm_cpu.py."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import hub as hubs
from tests.bed.model_hub import Hub
from tests.bed.paths import TESTS

MODEL, REVISION = "nemoclaw/tiny-agent", "0123456789abcdef0123456789abcdef01234567"
TOKEN, STRANGER = "hf_canary0123456789", "hf_stranger0123456789"
VARIABLE = "nemoclaw_credentials.HF_TOKEN"
WRAPPER = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.nemoclaw.fleet.plugins.modules import hub_probe
with patch_module_args(json.load(sys.stdin)):
    hub_probe.main()
"""


@pytest.fixture(scope="module")
def hub():
    with Hub("127.0.0.1", MODEL, REVISION, TESTS / "kit" / "tiny-agent", TOKEN, (STRANGER,)) as one:
        yield one


def probe(hub, token=TOKEN, model=MODEL, revision=REVISION, **options):
    """The module as Ansible runs it; its exit code and result. The token is in neither."""
    environment = {"HF_ENDPOINT": hub.url, **options.pop("environment", {})}
    given = {"model": model, "revision": revision, "token": token, "environment": environment, **options}
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", WRAPPER], input=json.dumps(given), capture_output=True, text=True, check=False, env=path)
    found = json.loads(done.stdout)
    found.pop("invocation")
    assert not token or token not in json.dumps(found)
    return done.returncode, found


def test_a_token_that_opens_it(hub):
    rc, found = probe(hub)
    assert (rc, found["ok"], found["failure"], found["changed"]) == (0, True, "", False)
    assert hub.asked[-1] == ("HEAD", f"/{MODEL}/resolve/{REVISION}/config.json", 200)


@pytest.mark.parametrize(
    ("given", "failure", "status", "words"),
    [
        ({"token": "hf_wrong"}, "unauthorized", 401, ["Invalid credentials in Authorization header", f"Set {VARIABLE} to a token that is valid."]),
        ({"token": ""}, "unauthorized", 401, ["You must have access", f"/{MODEL}, and set {VARIABLE} to a token of that account."]),
        ({"token": STRANGER}, "forbidden", 403, ["not in the authorized list", f"Accept the model's licence at http://127.0.0.1:{{port}}/{MODEL} with"]),
        ({"revision": "f" * 40}, "not_found", 404, [f"has no revision {'f' * 40} of {MODEL}"]),
        ({"model": "org/other"}, "not_found", 404, ["Repository not found"]),
        ({"model": "org/other", "token": ""}, "not_found", 401, [f"a private one takes a token in {VARIABLE}"]),
    ],
)
def test_what_the_hub_refuses(hub, given, failure, status, words):
    rc, found = probe(hub, **given)
    assert (rc, found["failed"], found["ok"], found["failure"], found["status"]) == (1, True, False, failure, status)
    for one in words:
        assert one.format(port=hub.server.server_port) in found["msg"]
    assert found["msg"] == f"{found['detail']}. {found['remedy']}"


def test_a_hub_that_cannot_be_asked_is_a_warning():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        rc, found = probe(type("Nothing", (), {"url": f"http://127.0.0.1:{taken.getsockname()[1]}"}))
    assert (rc, found["ok"], found["failure"], found["status"]) == (0, False, "unreachable", None)
    [warning] = found["warnings"]
    assert "nothing listens on 127.0.0.1:" in str(warning)


def test_a_proxy_of_the_download_is_used(hub):
    """The hub of the test takes an absolute URL for a model that it has not, which shows who was asked."""
    rc, found = probe(hub, environment={"HF_ENDPOINT": "http://hub.example", "HTTP_PROXY": hub.url, "http_proxy": hub.url, "no_proxy": "", "NO_PROXY": ""})
    assert (rc, found["failure"]) == (1, "not_found")
    assert hub.asked[-1][1] == f"http://hub.example/{MODEL}/resolve/{REVISION}/config.json"


def test_weights_that_are_there_take_no_hub(hub, tmp_path):
    snapshot = pathlib.Path(tmp_path, "hub", f"models--{MODEL.replace('/', '--')}", "snapshots", REVISION)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    asked = len(hub.asked)
    rc, found = probe(hub, token="hf_wrong", cache_dir=str(tmp_path))
    assert (rc, found["failure"], len(hub.asked)) == (1, "unauthorized", asked + 1)  # no weights yet
    (snapshot / "model.safetensors").write_text("x")
    rc, found = probe(hub, token="hf_wrong", cache_dir=str(tmp_path))
    assert (rc, found["ok"], found["cached"], len(hub.asked)) == (0, True, True, asked + 1)


@pytest.mark.parametrize(("status", "headers"), [(200, {}), (302, {"Location": "https://cdn.example"}), (307, {}), (404, {"X-Error-Code": "EntryNotFound"})])
def test_answers_that_are_none_of_its_business(status, headers):
    assert hubs.refusal(status, headers, hubs.HUB, MODEL, REVISION, VARIABLE, has_token=True) is None


@pytest.mark.parametrize("status", [400, 405, 418, 429, 500, 503])
def test_answers_that_say_nothing_of_the_model(status):
    assert hubs.refusal(status, {}, hubs.HUB, MODEL, REVISION, VARIABLE, has_token=True).failure == "unreachable"
