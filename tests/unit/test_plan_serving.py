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


def test_a_server_that_does_not_answer_now_changes_no_agent():
    """One that is loading its model after a reboot, say: agents would get another number of tokens until the next run."""
    given = {**RUNNING, "nemoclaw_inference": {"provider": "vllm", "model": "org/model-8b"}}
    assert '"contextWindow": 40960' in config(plan(given, facts=SERVING))
    assert "wait until it has loaded its model" in said(given, FACTS)["nemoclaw_inference.context_window"]
    given["nemoclaw_inference"]["context_window"] = 40960
    assert plan(given, facts=SERVING)["digest"] == plan(given)["digest"]


def test_before_the_probe_the_variables_are_fine():
    assert not run(RUNNING, facts=None).get("failed")


@pytest.mark.parametrize("provider", ["ollama", "install-vllm", "nim", "vllm"])
def test_what_is_only_taken_back_needs_no_host_that_could_do_it(provider):
    """GPUs that have failed since are no reason to keep what is on a host."""
    given = {**RUNNING, "nemoclaw_inference": {"provider": provider}}
    made = run(given, credentials_needed=False, host_checked=False)
    assert not made.get("failed"), made["msg"]
    assert run(given, credentials_needed=False)["failed"]


def said(given, on=SERVING):
    result = run(given, facts=on)
    return {error["variable"]: f"{error['problem']} {error['remedy']}" for error in result.get("errors", [])}


@pytest.mark.parametrize(
    "url",
    ["http://10.1.2.3:8000/v1", "https://127.0.0.1:8000/v1", "http://127.0.0.1/v1", "http://127.0.0.1:8000/v1/models", "nonsense", "http://127.0.0.1:port"],
)
@pytest.mark.parametrize("facts", [None, SERVING])
def test_a_running_server_is_one_that_the_proxy_can_stand_before(url, facts):
    """Else nginx would refuse its configuration when it is there already."""
    found = said({**RUNNING, "nemoclaw_inference": {"provider": "vllm", "endpoint_url": url}}, facts)
    assert list(found) == ["nemoclaw_inference.endpoint_url"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000/v1/", "http://[::1]:8000/v1"])
def test_forms_of_its_url(url):
    assert plan({**RUNNING, "nemoclaw_inference": {"provider": "vllm", "endpoint_url": url}}, facts=SERVING)["inference"]["route"]["model"] == "org/model-8b"


@pytest.mark.parametrize("model", [{}, {"model": "org/model-8b"}])
def test_a_running_server_that_asks_for_a_key(model):
    """Its list of models is not to be had, and the proxy has no key for it."""
    asks = {**FACTS, "servers": {"openai": [{"port": 8000, "key_needed": True, "models": []}]}}
    found = said({**RUNNING, "nemoclaw_inference": {"provider": "vllm", **model}}, asks)
    assert "http://127.0.0.1:8000 asks for a key" in found["nemoclaw_inference.provider"]


def test_a_running_server_without_a_model():
    empty = {**FACTS, "servers": {"openai": [{"port": 8000, "key_needed": False, "models": []}]}}
    assert "/v1/models lists none" in said(RUNNING, empty)["nemoclaw_inference.model"]


def test_the_proxy_is_no_server_behind_itself():
    looped = {**RUNNING, "nemoclaw_inference": {"provider": "vllm", "model": "m", "endpoint_url": "http://127.0.0.1:11435/v1"}}
    assert "11435 is used by nemoclaw_proxy.port too" in said(looped)["nemoclaw_inference.endpoint_url"]


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ({"nemoclaw_ollama": {"port": 11435}}, "nemoclaw_proxy.port"),
        ({"nemoclaw_proxy": {"port": 11434}}, "nemoclaw_proxy.port"),
        ({"nemoclaw_ollama": {"port": 18789}}, "nemoclaw_sandboxes[0].dashboard_port"),
    ],
)
def test_a_server_has_a_port_of_its_own(given, other):
    found = said({**RUNNING, "nemoclaw_inference": {"provider": "ollama", "model": "m"}, **given}, None)
    assert f"is used by {other} too" in found["nemoclaw_ollama.port"]


@pytest.mark.parametrize("provider", ["ollama", "install-vllm", "nim"])
def test_an_endpoint_that_nobody_would_use_is_refused(provider):
    """It would be another server than the user believes."""
    given = {
        **RUNNING,
        "nemoclaw_inference": {"provider": provider, "endpoint_url": "http://10.0.0.9:11434/v1"},
        "nemoclaw_credentials": {"NGC_API_KEY": "nvapi-x"},
    }
    assert f"is not used by the provider {provider}" in said(given, None)["nemoclaw_inference.endpoint_url"]


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ("http://me:canary@proxy.example:3128", True),
        ("http://canary@proxy.example:3128/", True),
        ("me:canary@proxy.example:3128", True),  # programs take it so, too
        ("http://a.example,https://me:canary@b.example/x", True),
        ("http://proxy.example:3128", False),
        ("https://mirror.example/team@home?by=me@example.org", False),
        ("registry.example/image:1@sha256:0a", False),
        (1, False),
    ],
)
@pytest.mark.parametrize(
    ("provider", "variable"), [("ollama", "nemoclaw_ollama.environment"), ("install-vllm", "nemoclaw_vllm.env"), ("nim", "nemoclaw_nim.env")]
)
def test_a_login_in_a_url_gets_into_no_environment(provider, variable, value, refused):
    """It would be in the plan, in its history, and in what everybody on the host can read."""
    server, key = variable.split(".")
    given = {**RUNNING, "nemoclaw_inference": {"provider": provider}, server: {key: {"SETTING": value}}, "nemoclaw_credentials": {"NGC_API_KEY": "nvapi-x"}}
    found = run(given, facts=None)
    text = said(given, None).get(f"{variable}.SETTING", "")
    assert bool(text) == refused, found.get("msg")
    assert text.startswith("is a URL with a user or a password, and ") == refused
    assert "canary" not in found.get("msg", "")
