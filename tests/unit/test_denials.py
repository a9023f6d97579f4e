# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox was refused, out of the recorded logs of the real OpenShell."""

from __future__ import annotations

import json

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.denials import parse
from tests.unit.recorded import TRANSCRIPTS

HOST = "host.openshell.internal"


def recorded(transcript: str) -> str:
    steps = [json.loads(line) for line in (TRANSCRIPTS / f"{transcript}.jsonl").read_text().splitlines()]
    return next(step["stdout"] for step in steps if "logs" in str(step.get("argv"))).replace("<TS>", "1795290577.703")


def test_each_denial_is_found():
    found = parse(recorded("denials"))
    assert {(entry["request"], entry["program"].rpartition("/")[2], entry["policy"]) for entry in found} == {
        (f"POST http://{HOST}:8102/v1/models", "curl", "echo"),
        (f"DELETE http://{HOST}:8102/v1/models", "", "echo"),  # inside a tunnel the log names no program
        (f"GET http://{HOST}:8199/some/path", "curl", ""),
        ("CONNECT api.example.com:443", "curl", ""),
        ("GET http://api.example.com/plain", "curl", ""),
        ("GET http://169.254.169.254/latest/meta-data/", "curl", ""),
        (f"GET http://{HOST}:8103/", "curl", "elsewhere"),
        (f"CONNECT {HOST}:8103", "curl", ""),
        (f"GET http://{HOST}:8102/v1/models", "python3.11", ""),
    }
    reasons = {entry["request"]: entry["reason"] for entry in found}
    assert reasons[f"POST http://{HOST}:8102/v1/models"] == "POST /v1/models not permitted by policy"
    assert reasons[f"GET http://{HOST}:8102/v1/models"] == "binary '/usr/bin/python3.11' not allowed in policy 'echo'"
    assert {entry["last"] for entry in found} == {"2026-11-21T19:49:37Z"}


def test_the_same_again_is_counted():
    log = recorded("denials")
    later = log.replace("1795290577.703", "1795290700.1").replace("(46)", "(99)")
    found = parse(later + log)
    assert {entry["count"] for entry in found} == {2}
    assert {entry["last"] for entry in found} == {"2026-11-21T19:51:40Z"}


def test_what_passed_is_none():
    assert parse(recorded("logs")) == []
    assert {entry["count"] for entry in parse(recorded("policy_enforcement"))} == {1}
