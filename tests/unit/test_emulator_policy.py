# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions of the emulator's proxy and its policy parser, beyond the values the transcripts use."""

from __future__ import annotations

import pytest

from tests.emulator.errors import Failure
from tests.emulator.policy import schema
from tests.emulator.supervisor import policy
from tests.emulator.supervisor.credentials import Credentials, Refused


def rule(**endpoint):
    return {"network_policies": {"r": {"name": "r", "endpoints": [endpoint], "binaries": [{"path": "/usr/bin/*"}]}}}


@pytest.mark.parametrize(
    ("host", "asked", "admitted"),
    [
        ("api.example.com", "API.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", False),
        ("**.example.com", "a.b.example.com", True),
        ("*-api.example.com", "x-api.example.com", True),
        ("*.example.com", "example.com", False),
    ],
)
def test_hosts(host, asked, admitted):
    found = policy.endpoints_for(rule(host=host, port=443), asked, 443, ["/usr/bin/curl"])
    assert bool(found) is admitted
    assert not policy.endpoints_for(rule(host=host, port=443), asked, 80, ["/usr/bin/curl"])


def test_a_program_is_known_by_its_path_or_an_ancestor():
    one = rule(host="a.example", port=443)
    assert policy.endpoints_for(one, "a.example", 443, ["/tmp/other", "/usr/bin/bash"])
    assert not policy.endpoints_for(one, "a.example", 443, ["/tmp/curl", "/usr/local/bin/node"])
    assert not policy.endpoints_for(one, "a.example", 443, [])


@pytest.mark.parametrize(
    ("endpoint", "method", "path", "denied"),
    [
        ({"access": "read-only"}, "HEAD", "/x", False),
        ({"access": "read-only"}, "POST", "/x", True),
        ({"access": "read-write"}, "DELETE", "/x", True),
        ({"access": "full"}, "DELETE", "/x", False),
        ({"rules": [{"allow": {"method": "GET", "path": "/v1/*"}}]}, "GET", "/v1/a/b", True),
        ({"rules": [{"allow": {"method": "GET", "path": "/v1/**"}}]}, "GET", "/v1/a/b", False),
        ({"access": "full", "deny_rules": [{"method": "POST", "path": "/admin/**"}]}, "POST", "/admin/x", True),
        ({}, "GET", "/", True),
    ],
)
def test_requests(endpoint, method, path, denied):
    assert bool(policy.request_denied([{"protocol": "rest", **endpoint}], method, path)) is denied


def test_an_endpoint_without_protocol_is_not_inspected():
    assert policy.request_denied([{"host": "a.example", "port": 1}], "DELETE", "/") is None


@pytest.mark.parametrize(
    ("endpoint", "address", "reason"),
    [
        ({"host": "a.example"}, "10.1.2.3", None),
        ({"host": "*.example"}, "10.1.2.3", "internal address"),
        ({"host": "*.example", "allowed_ips": ["10.0.0.0/8"]}, "10.1.2.3", None),
        ({"host": "a.example", "allowed_ips": ["10.9.0.0/16"]}, "10.1.2.3", "allowed_ips check failed"),
        ({"host": "a.example"}, "127.0.0.1", "declared endpoint check failed"),
        ({"host": "a.example", "allowed_ips": ["169.254.0.0/16"]}, "169.254.169.254", "allowed_ips check failed"),
    ],
)
def test_addresses(endpoint, address, reason):
    assert policy.address_denied([endpoint], "a.example", [address]) == reason


def test_a_secret_goes_to_its_own_endpoint_only_and_an_old_placeholder_keeps_its_secret():
    secrets, endpoints = Credentials(), [{"host": "a.example", "port": 443}]
    secrets.update({"revision": 1, "secrets": {"T": {"value": "old", "endpoints": endpoints}}})
    before = secrets.environment()["T"]
    secrets.update({"revision": 2, "secrets": {"T": {"value": "new", "endpoints": endpoints}}})
    assert secrets.fill(f"Bearer {before}", "a.example", 443, "/") == "Bearer old"
    assert secrets.fill(f"Bearer {secrets.environment()['T']}", "a.example", 443, "/") == "Bearer new"
    with pytest.raises(Refused) as refused:
        secrets.fill(before, "b.example", 443, "/")
    assert refused.value.args[2] == "credential_endpoint_mismatch"
    secrets.revoke()
    assert secrets.environment() == {}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("version: one\n", 'version: invalid type: string "one", expected u32 at line 1 column 10'),
        ("filesystem_policy: {}\n", "missing field `version`"),
        (
            "version: 1\nlandlock: {compatibility: [3]}\n",
            "landlock.compatibility: invalid type: sequence, expected a string at line 2 column 27",
        ),
    ],
)
def test_faults_of_a_policy_file_are_placed(text, cause):
    with pytest.raises(Failure) as raised:
        schema.parse(text)
    assert raised.value.causes == (cause,)


def test_a_policy_written_as_yaml_reads_back_the_same():
    text = "version: 1\nnetwork_policies: {x: {endpoints: [{host: '*.a.example', ports: [1, 2], allowed_ips: ['10.0.0.0/8'], access: full}]}}\n"
    once = schema.parse(text)
    assert schema.parse(schema.to_yaml(once)) == once
