# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model server of the host in the plan: what it serves decides model, tokens, endpoint and key of the agents."""

from __future__ import annotations

import pytest

from tests.unit.test_plan import FACTS, plan, run

RUNNING = {"nemoclaw_inference": {"provider": "vllm"}, "nemoclaw_sandboxes": [{"name": "assistant"}]}
SERVING = {**FACTS, "servers": {"openai": [{"port": 8000, "models": [{"id": "org/model-8b", "max_model_len": 40960}]}]}}


def config(made):
    return next(file["content"] for file in made["sandboxes"][0]["create"]["files"] if file["path"].endswith("openclaw.json"))


def test_a_running_server_says_model_and_tokens():
    made = plan(RUNNING, facts=SERVING)
    assert made["inference"]["route"]["model"] == "org/model-8b"
    assert '"contextWindow": 40960' in config(made)


def test_what_is_given_counts():
    given = {**RUNNING, "nemoclaw_inference": {"provider": "vllm", "model": "alias", "context_window": 65536}}
    made = plan(given, facts=SERVING)
    assert made["inference"]["route"]["model"] == "alias"
    assert '"contextWindow": 65536' in config(made)


def test_it_is_reached_through_the_proxy_with_a_key_of_the_host():
    made = plan(RUNNING, facts=SERVING)
    assert made["inference"]["provider"]["config"] == {"OPENAI_BASE_URL": "http://host.openshell.internal:11435/v1"}
    assert made["inference"]["key_file"] == "/etc/nemoclaw/proxy/token"
    assert made["inference"]["credential"] == ""


def test_the_variables_are_those_that_were_given():
    """Another model on the host is a change of the host."""
    other = {**FACTS, "servers": {"openai": [{"port": 8000, "models": [{"id": "org/other", "max_model_len": 40960}]}]}}
    one, two = plan(RUNNING, facts=SERVING), plan(RUNNING, facts=other)
    assert one["variables"] == two["variables"]
    assert one["digest"] != two["digest"]


def test_nothing_runs():
    refused = run(RUNNING)
    assert refused["failed"]
    assert "nemoclaw_inference.provider: no server answers at http://127.0.0.1:8000/v1/models. Start it first" in refused["msg"]


def test_before_the_probe_the_variables_are_fine():
    assert not run(RUNNING, facts=None).get("failed")


@pytest.mark.parametrize("provider", ["ollama", "install-vllm", "nim", "vllm"])
def test_what_is_only_taken_back_needs_no_host_that_could_do_it(provider):
    """GPUs that have failed since are no reason to keep what is on a host."""
    given = {**RUNNING, "nemoclaw_inference": {"provider": provider}}
    made = run(given, credentials_needed=False, host_checked=False)
    assert not made.get("failed"), made["msg"]
    assert run(given, credentials_needed=False)["failed"]
