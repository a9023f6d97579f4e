# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user gets wrong is said at once, with variable, problem and remedy, and leaves the host as it was."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.bed.paths import CHECKOUT
from tests.bed.play import play
from tests.integration.fleet import differences

# Nothing answers there (RFC 5737): a run that gets as far as a connection ends as unreachable.
NOWHERE = {"ansible_host": "192.0.2.1", "ansible_timeout": 2}

# variable -> its value, and what is said of each mistake in it
MISTAKES = {
    "nemoclaw_user": ("root", {"nemoclaw_user": "must not be root"}),
    "nemoclaw_gateway": (
        {"port": 80, "health_prot": 8081, "health_port": 18789, "subnet": "8.8.0.0/24"},
        {
            "nemoclaw_gateway.port": "Use a port from 1024 to 65535",
            "nemoclaw_gateway.health_prot": "Did you mean health_port?",
            "nemoclaw_gateway.subnet": "no private IPv4 subnet",
        },
    ),
    "nemoclaw_inference": (
        {"provider": "custm", "endpoint_url": "http://127.0.0.1:8102/v1", "model": "two words", "timeout": "soon"},
        {
            "nemoclaw_inference.provider": "Did you mean custom?",
            "nemoclaw_inference.model": "GET /v1/models",
            "nemoclaw_inference.timeout": "Give seconds",
        },
    ),
    "nemoclaw_credentials": ({"COMPATIBLE_API_KEY": 7}, {"nemoclaw_credentials.COMPATIBLE_API_KEY": "not a text"}),
    "nemoclaw_sandboxes": (
        [{"name": "double--hyphen", "memory": "lots"}, {"agent": "openclaw"}, {"name": "more-than-19-characters", "agent": "openclav"}],
        {
            "nemoclaw_sandboxes[0].name": "single hyphens",
            "nemoclaw_sandboxes[0].memory": "Give a size such as",
            "nemoclaw_sandboxes[1].name": "is missing",
            "nemoclaw_sandboxes[2].agent": "Did you mean openclaw?",
            "nemoclaw_sandboxes[2].name": "19",
            "nemoclaw_sandboxes[0].dashboard_port": "used by nemoclaw_gateway.health_port too",
        },
    ),
    "nemoclaw_allow_rebuild": ("perhaps", {"nemoclaw_allow_rebuild": "true or false"}),
    "nemoclaw_sandboxs": ([], {"nemoclaw_sandboxs": "Did you mean nemoclaw_sandboxes?"}),
}
TWO_MODELS = {
    "nemoclaw_inference": {"provider": "custom", "endpoint_url": "http://127.0.0.1:8102/v1", "model": "small"},
    "nemoclaw_sandboxes": [{"name": "one"}, {"name": "two", "model": "large", "dashboard_port": 18790}],
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """A run against hosts that are nowhere, with mistakes in their variables."""
    path = tmp_path_factory.mktemp("nowhere") / "hosts.json"
    wrong = {name: value for name, (value, _said) in MISTAKES.items()}
    path.write_text(json.dumps({"all": {"hosts": {"wrong": {**NOWHERE, **wrong}, "two-models": {**NOWHERE, **TWO_MODELS}}}}))
    return play("onboard.yml", path)


def errors(run, host: str) -> dict[str, str]:
    """What was said of each variable, as its error and as a line of the message."""
    result = run.of_host(host, "nemoclaw.fleet.plan")[0]
    lines = {error["variable"]: f"{error['problem']} {error['remedy']}" for error in result["errors"] if error["problem"] and error["remedy"]}
    assert len(lines) == len(result["errors"])
    assert [name for name, text in lines.items() if f"{name}: {text}" not in result["msg"]] == []
    return lines


def test_before_any_connection(refused):
    assert refused.rc != 0
    assert refused.executions == {}
    assert {host: (counts["failed"], counts["unreachable"]) for host, counts in refused.recap.items()} == {"wrong": (1, 0), "two-models": (1, 0)}


def test_all_mistakes_at_once(refused):
    expected = {variable: text for _value, said in MISTAKES.values() for variable, text in said.items()}
    found = errors(refused, "wrong")
    assert expected.keys() <= found.keys()
    assert [variable for variable, text in expected.items() if text not in found[variable]] == []


def test_two_models_and_no_credential(refused):
    found = errors(refused, "two-models")
    assert set(found) == {"nemoclaw_credentials.COMPATIBLE_API_KEY", "nemoclaw_sandboxes.two.model"}
    assert "declare a second gateway" in found["nemoclaw_sandboxes.two.model"]


SERVERS = """
import http.server, json, socket, threading
class Page(http.server.BaseHTTPRequestHandler):
    kind, models = "text/html", b"<html>Welcome</html>"
    answer = models
    def do_GET(self):
        self.reply(self.models)
    def do_POST(self):
        self.reply(self.answer)
    def reply(self, body):
        self.send_response(200)
        self.send_header("content-type", self.kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Model(Page):
    kind = "application/json"
    models = json.dumps({"data": [{"id": "tiny-agent"}]}).encode()
    answer = json.dumps({"model": "tiny-agent", "choices": [{"message": {"content": "OK"}}]}).encode()
for port, kind in ((8201, Page), (8204, Model)):
    threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", port), kind).serve_forever).start()
silent = socket.create_server(("127.0.0.1", 8202))
threading.Event().wait()
"""
ENDPOINTS = {  # how the endpoint is wrong -> variables, failure, what the message names
    "key": ({}, "unauthorized", "nemoclaw_credentials.COMPATIBLE_API_KEY"),
    "model": ({"model": "tiny-agnet"}, "model_not_found", "tiny-agent"),
    "page": ({"endpoint_url": "http://127.0.0.1:8201/v1"}, "not_an_api", "nemoclaw_inference.endpoint_url"),
    "silent": ({"endpoint_url": "http://127.0.0.1:8202/v1"}, "timeout", "did not answer within"),
    "closed": ({"endpoint_url": "http://127.0.0.1:8203/v1"}, "refused", "nothing listens on 127.0.0.1:8203"),
    "loopback": ({"endpoint_url": "http://127.0.0.1:8204/v1"}, "loopback_only", "listens on loopback only"),
}


@pytest.fixture
def impatient_blueprint(tmp_path):
    """The blueprint, but waiting 3 s for an endpoint instead of three minutes."""
    from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import MANIFEST, pins

    root = tmp_path / "blueprint"
    shutil.copytree(CHECKOUT / "blueprint", root)
    data = (root / "blueprint.yaml").read_text()
    (root / "blueprint.yaml").write_text(re.sub(r"probe_timeout: \d+", "probe_timeout: 10", data))
    (root / MANIFEST).write_text(pins(root))
    return {"source": str(root)}


def test_endpoint_that_does_not_answer(fresh, impatient_blueprint):
    """Every way an endpoint can be wrong, each on the same fresh host: each its message with a remedy, and a host that is as it was."""
    host = fresh["h1"]
    host.write_file("/run/servers.py", SERVERS)
    host.sh("systemd-run --quiet --unit=bed-servers python3 /run/servers.py")
    host.await_port(8202)
    hosts = {
        name: {
            "ansible_host": host.address,
            "nemoclaw_blueprint": impatient_blueprint,
            "nemoclaw_inference": {**fresh.variables["nemoclaw_inference"], **settings},
            "nemoclaw_credentials": {"COMPATIBLE_API_KEY": "sk-wrong" if name == "key" else fresh.key},
        }
        for name, (settings, _failure, _named) in ENDPOINTS.items()
    }
    run = fresh.play("onboard.yml", hosts=hosts)
    assert run.rc != 0
    messages = {name: run.of_host(name, "nemoclaw.fleet.endpoint_probe")[0] for name in ENDPOINTS}
    for name, (_settings, failure, named) in ENDPOINTS.items():
        assert messages[name]["failure"] == failure
        assert named in messages[name]["msg"]
        assert messages[name]["remedy"]
        assert run.recap[name]["changed"] == 0
    assert len({found["remedy"] for found in messages.values()}) == len(ENDPOINTS)
    host.exec("systemctl", "stop", "bed-servers")
    assert differences(fresh.before["h1"], fresh.snapshot("h1")) == []
