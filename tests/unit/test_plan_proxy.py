# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy in the plan: where it listens and what for, which endpoint takes its token, what is refused."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._drift import serving_of
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import certificate, proxy
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.proxy import Proxy, rebinds
from tests.unit.test_plan import FACTS, TYPICAL, plan, run

LLAMA = {"name": "llama", "port": 11435, "url": "http://127.0.0.1:8081"}
OTHER = {"name": "other", "port": 11500, "url": "http://localhost:9000"}


def resources(proxy, facts=FACTS, **given):
    made = plan({**TYPICAL, "nemoclaw_proxy": proxy, **given}, facts=facts)["proxy"]
    return {entry["resource"]: entry for entry in reversed(made.get("resources", []))}


def host(distribution, version):
    return {**FACTS, "distribution": {"id": distribution, "version": version, "name": distribution, "like": []}}


def servers(proxy):
    """C(backend: [listen, …]) of nginx.conf."""
    config = resources(proxy)["proxy"]["config"]
    blocks = re.findall(r"upstream (\S+) \{\n\s+server (\S+);.*?server \{\n(.*?)\n\s+if", config, re.DOTALL)
    return {(name, server): re.findall(r"listen ([^;]+);", listens) for name, server, listens in blocks}


def test_there_is_none_where_nobody_asked():
    assert plan(TYPICAL)["proxy"] == {}
    assert resources({"port": 11500}) == {}


def test_one_server_block_for_each_backend():
    found = servers({"backends": [LLAMA, OTHER]})
    assert found == {("llama", "127.0.0.1:8081"): ["0.0.0.0:11435"], ("other", "127.0.0.1:9000"): ["0.0.0.0:11500"]}


@pytest.mark.parametrize(
    ("address", "plain", "tls"),
    [
        ("0.0.0.0", ["0.0.0.0:11435"], ["0.0.0.0:11435 ssl", "127.0.0.1:11435", "172.30.200.1:11435"]),
        ("127.0.0.1", ["127.0.0.1:11435", "172.30.200.1:11435"], ["127.0.0.1:11435", "172.30.200.1:11435"]),
        ("192.0.2.7", ["192.0.2.7:11435", "127.0.0.1:11435", "172.30.200.1:11435"], ["192.0.2.7:11435 ssl", "127.0.0.1:11435", "172.30.200.1:11435"]),
    ],
)
def test_host_and_sandboxes_always_reach_it_and_only_others_need_tls(address, plain, tls):
    assert [*servers({"address": address, "backends": [LLAMA]}).values()] == [plain]
    assert [*servers({"address": address, "backends": [LLAMA], "tls": {"source": "own"}}).values()] == [tls]


@pytest.mark.parametrize(("address", "refused"), [("192.0.2.7", True), ("10.213.145.11", False), ("127.0.0.1", False), ("0.0.0.0", False)])
def test_an_address_is_one_of_the_host(address, refused):
    facts = {**FACTS, "networks": {**FACTS["networks"], "local": ["10.213.145.11", "172.17.0.1"]}}
    result = run({**TYPICAL, "nemoclaw_proxy": {"address": address, "backends": [LLAMA]}}, facts=facts)
    problem = f"nemoclaw_proxy.address: {address} is no address of this host. Give one of 10.213.145.11, 172.17.0.1, or 0.0.0.0 or 127.0.0.1."
    assert (problem in result.get("msg", "")) == refused
    assert not run({**TYPICAL, "nemoclaw_proxy": {"address": address}}, facts=facts).get("failed"), "it is not made"


def test_an_endpoint_behind_it_takes_its_token():
    given = {"provider": "custom", "model": "m", "endpoint_url": "http://127.0.0.1:11435/v1"}
    made = plan({**TYPICAL, "nemoclaw_inference": given, "nemoclaw_credentials": {}, "nemoclaw_proxy": {"backends": [LLAMA]}})
    assert made["inference"]["key_file"] == "/etc/nemoclaw/proxy/token"


@pytest.mark.parametrize(
    ("distribution", "packages", "start"),
    [
        (("debian", "12"), ["nginx", "openssl"], "nginx -e stderr -c"),
        (("ubuntu", "24.04"), ["nginx", "openssl"], "nginx -e stderr -c"),
        (("ubuntu", "22.04"), ["nginx-extras", "openssl"], "nginx -c"),  # its nginx knows neither secure_link nor -e
        (("elsewhere", ""), ["nginx", "openssl"], "nginx -e stderr -c"),
    ],
)
def test_nginx_is_what_the_distribution_has(distribution, packages, start):
    made = resources({"backends": [LLAMA]}, facts=host(*distribution))
    assert made["packages"]["packages"] == packages
    assert re.findall("^ExecStart=/usr/sbin/(.*)$", made["unit"]["content"], re.MULTILINE) == [f"{start} /etc/nemoclaw/proxy/conf/nginx.conf"]


THROUGH = {"provider": "vllm", "model": "m", "context_window": 65536}
BESIDE = {"provider": "custom", "model": "m", "endpoint_url": "http://127.0.0.1:8000/v1"}
BEFORE = {**BESIDE, "endpoint_url": "http://127.0.0.1:11435/v1"}


@pytest.mark.parametrize(
    ("inference", "seconds"),
    [(THROUGH, 900), ({**THROUGH, "timeout": 600}, 900), ({**THROUGH, "timeout": 3600}, 3600), ({**THROUGH, "timeout": 300, "probe_timeout": 1800}, 1800)],
)
def test_it_waits_as_long_as_a_request_may_take(inference, seconds):
    config = resources({}, nemoclaw_inference=inference)["proxy"]["config"]
    assert set(re.findall("(?:read|send)_timeout (.*);", config)) == {f"{seconds}s"}


@pytest.mark.parametrize(
    ("inference", "seconds", "problem"),
    [
        ({**THROUGH, "timeout": 600}, 599, "599 is less than nemoclaw_inference.timeout, 600"),
        ({**THROUGH, "timeout": 60, "probe_timeout": 700}, 600, "600 is less than nemoclaw_inference.probe_timeout, 700"),
        ({**BEFORE, "timeout": 600}, 60, "60 is less than nemoclaw_inference.timeout, 600"),
        ({**THROUGH, "timeout": 600}, 600, ""),
        ({**BESIDE, "timeout": 600}, 60, ""),
        (THROUGH, 60, ""),  # nobody has said how long a request may take
    ],
)
def test_it_does_not_give_up_before_the_inference(inference, seconds, problem):
    credentials = {} if inference["provider"] == "vllm" else TYPICAL["nemoclaw_credentials"]
    chosen = {"backends": [LLAMA], "timeout": seconds} if inference["provider"] == "custom" else {"timeout": seconds}
    result = run({**TYPICAL, "nemoclaw_inference": inference, "nemoclaw_credentials": credentials, "nemoclaw_proxy": chosen})
    found = [(error["variable"], error["problem"], error["remedy"]) for error in result.get("errors", [])]
    assert [(variable, problem in said) for variable, said, _remedy in found] == ([("nemoclaw_proxy.timeout", True)] if problem else []), result.get("msg")
    assert all("Set it to at least" in remedy for _variable, _said, remedy in found)


def test_the_probe_asks_for_its_ports():
    result = run({**TYPICAL, "nemoclaw_proxy": {"backends": [LLAMA, OTHER]}}, facts=None)
    found = {port["port"]: (port["variable"], port["ours"]) for port in result["ports"]}
    assert [port["address"] for port in result["ports"] if port["port"] == 11435] == ["0.0.0.0"]
    other = run({**TYPICAL, "nemoclaw_proxy": {"address": "192.0.2.7", "backends": [LLAMA]}}, facts=None)["ports"]
    assert [port["address"] for port in other if port["port"] == 11435] == ["192.0.2.7", "127.0.0.1"]
    assert found[11435] == ("nemoclaw_proxy.port", "nemoclaw-proxy.service")
    assert found[11500] == ("nemoclaw_proxy.backends.other.port", "nemoclaw-proxy.service")


def test_it_can_be_removed():
    found = resources({"state": "absent"})
    assert {name: entry["state"] for name, entry in found.items()} == {"unit": "absent", "proxy": "absent"}


@pytest.mark.parametrize(
    ("proxy", "variable", "problem"),
    [
        ({"backends": [{**LLAMA, "url": "http://192.0.2.1:8081"}]}, "nemoclaw_proxy.backends[0].url", "no http URL of a server on the host's loopback"),
        ({"backends": [{**LLAMA, "url": "https://127.0.0.1:8081"}]}, "nemoclaw_proxy.backends[0].url", "no http URL"),
        ({"backends": [{**LLAMA, "url": "http://127.0.0.1:8081/v1"}]}, "nemoclaw_proxy.backends[0].url", "no http URL"),
        ({"backends": [{"name": "llama", "url": LLAMA["url"]}]}, "nemoclaw_proxy.backends[0].port", "is missing"),
        ({"backends": [LLAMA, {**OTHER, "name": "llama"}]}, "nemoclaw_proxy.backends[1].name", "is there twice"),
        ({"backends": [LLAMA, {**OTHER, "port": 11435}]}, "nemoclaw_proxy.backends.other.port", "11435 is used by nemoclaw_proxy.port too"),
        ({"backends": [{**LLAMA, "port": 18789}]}, "nemoclaw_proxy.port", "18789 is used by nemoclaw_sandboxes[0].dashboard_port too"),
        ({"backends": [LLAMA], "tls": {"source": "files", "key": "/k"}}, "nemoclaw_proxy.tls.certificate", "the source files needs it"),
        ({"address": "everywhere"}, "nemoclaw_proxy.address", "right form"),
        ({"address": "::1"}, "nemoclaw_proxy.address", "right form"),
        ({"address": "127.0.0.256"}, "nemoclaw_proxy.address", "is no IPv4 address"),
        ({"backends": [{**LLAMA, "name": "a b; }"}]}, "nemoclaw_proxy.backends[0].name", "right form"),
    ],
)
def test_a_mistake_is_said(proxy, variable, problem):
    result = run({**TYPICAL, "nemoclaw_proxy": proxy})
    assert [(error["variable"], problem in error["problem"]) for error in result.get("errors", [])] == [(variable, True)], result.get("msg")


def test_a_server_that_needs_it_keeps_it():
    result = run({"nemoclaw_inference": {"provider": "vllm", "model": "m"}, "nemoclaw_proxy": {"state": "absent"}})
    assert [error["variable"] for error in result["errors"]] == ["nemoclaw_proxy.state"]


# --- what a comparison says -----------------------------------------------------------------------------------------------------------------


def test_no_difference_holds_a_token(tmp_path):
    token = tmp_path / "token"
    desired = {
        "name": "p",
        "user": "nobody",
        "directory": str(tmp_path),
        "runtime": str(tmp_path),
        "config": "http {}",
        "listens": [],
        "tokens": [str(token), str(tmp_path / "none")],
        "tls": {},
    }
    token.write_text("a1" * 24)
    first = Proxy(desired).changes()
    assert {change.field for change in first} == {"configuration", "accepted.conf"}
    assert ("a1" * 24)[12:] not in json.dumps([change.as_dict() for change in first])
    token.write_text("b2" * 24)
    second = Proxy(desired).changes()
    assert [one.after for one in first if one.field == "accepted.conf"] != [one.after for one in second if one.field == "accepted.conf"]


def test_a_token_that_a_rotation_has_left_is_a_difference(tmp_path):
    """The old one opens as long as it is there, and only a rotation that comes to its end takes it away."""
    made = [entry for entry in plan({**TYPICAL, "nemoclaw_proxy": {"backends": [LLAMA]}})["proxy"]["resources"] if entry["resource"] == "secret"]
    assert [(entry["path"], entry.get("state")) for entry in made] == [("/etc/nemoclaw/proxy/token", None), ("/etc/nemoclaw/proxy/token.next", "absent")]
    (left,) = serving_of({"resources": [{**made[1], "path": str(tmp_path / "token.next")}]}, {})
    assert left.changes() == []
    (tmp_path / "token.next").write_text("a1" * 24)
    assert [(change.field, change.before, change.after) for change in left.changes()] == [("state", "present", "absent")]


@pytest.mark.parametrize(
    ("before", "after", "restarted"),
    [
        ({}, {"address": "127.0.0.1"}, True),
        ({"address": "192.0.2.7"}, {}, True),
        ({"address": "192.0.2.7"}, {"address": "127.0.0.1"}, False),
        ({}, {"tls": {"source": "own"}}, False),
        ({}, {"backends": [OTHER]}, False),
    ],
)
def test_nginx_is_restarted_where_it_could_not_bind_otherwise(before, after, restarted):
    old, new = (resources({"backends": [LLAMA], **proxy})["proxy"]["config"] for proxy in (before, after))
    assert rebinds(old, new) == restarted


def test_an_own_certificate_is_for_the_addresses_of_the_host(tmp_path, monkeypatch):
    """Also where it listens on all of them: who knows the host by its address alone could not verify it."""
    monkeypatch.setattr(proxy.network, "local", lambda _trie: ["192.0.2.7", "198.51.100.3"])
    tls = {"certificate": str(tmp_path / "own.crt"), "key": str(tmp_path / "own.key"), "days": 825}
    certificate.make(tls, Proxy({"name": "proxy", "listens": [{"address": "0.0.0.0", "port": 11435}, {"address": "127.0.0.1", "port": 11435}]})._addresses())
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", tls["certificate"]], capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"IP Address:([0-9.]+)", shown) == ["127.0.0.1", "192.0.2.7", "198.51.100.3"]
    assert "DNS:localhost" in shown
