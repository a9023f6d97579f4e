# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One changed variable changes one thing; what somebody changed by hand is said and put right. Each host has a change of its own in the same run."""

from __future__ import annotations

import json

import pytest

from tests.integration.fleet import ANSWER, Fleet, answer, changed, predicted, resources, unchanged

CONFIG = "sandbox/assistant:/sandbox/.openclaw/openclaw.json"
ENV = "sandbox/assistant:/sandbox/.nemoclaw/env"
AGENT = "unit/nemoclaw-agent@assistant.service"
REGISTRY = "registry/assistant"
PORT = 8203
CURL = f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' http://host.openshell.internal:{PORT}/"
RULE = {
    "name": "host-files",
    "endpoints": [{"host": "host.openshell.internal", "port": PORT, "allowed_ips": ["172.30.200.0/24"]}],
    "binaries": [{"path": "/usr/bin/curl"}],
}


def changes_made(fleet: Fleet, expected: dict[str, set[str]], **variables):
    """Check predicts exactly what is expected of each host, a run changes exactly that, a second one nothing. Returns both first runs."""
    check = fleet.play("onboard.yml", check=True, diff=True, variables=variables)
    assert check.rc == 0
    assert {host: resources(predicted(check, host)) for host in expected} == expected
    run = fleet.play("onboard.yml", variables=variables)
    assert run.rc == 0
    assert {host: changed(run, host) for host in expected} == expected
    assert {host: answer(run, host) for host in expected if answer(run, host) != ANSWER} == {}
    again = fleet.play("onboard.yml", variables=variables)
    assert [host for host in fleet.names if not unchanged(again, host)] == []
    return check, run


@pytest.fixture
def host_files(onboarded):
    """A file server on h2 that its sandbox may reach once the policy says so."""
    onboarded["h2"].sh(f"systemd-run --quiet --collect --unit=bed-files --working-directory=/run/lock python3 -m http.server {PORT}")
    onboarded["h2"].await_port(PORT)
    yield
    onboarded["h2"].sh("systemctl stop bed-files")


def test_a_preset_comes_and_goes_without_an_onboarding(onboarded, host_files):
    """What opens and closes is said before, and nothing but the policy changes."""
    preset = {"network_policies": {"host_files": {"endpoints": RULE["endpoints"], "binaries": ["curl"]}}}
    added = {"nemoclaw_policy_presets": {"host-files": preset}, "nemoclaw_policy_add": ["host-files"]}
    removed = {**added, "nemoclaw_policy_remove": ["host-files"]}
    said = f"host.openshell.internal:{PORT} (at 172.30.200.0/24) anything, not inspected by /usr/bin/curl"
    for variables, word, before, after in ((added, "opens", "403", "200"), (removed, "closes", "200", "403")):
        check = onboarded.play("policy.yml", check=True, diff=True, variables=variables, limit="h2")
        assert f"{word} {said}" in check.output
        assert resources(predicted(check, "h2")) == {"policy/assistant"}
        assert onboarded.inside("h2", CURL) == before
        run = onboarded.play("policy.yml", variables=variables, limit="h2")
        assert (run.rc, run.recap["h2"]["changed"]) == (0, 1)
        assert onboarded.inside("h2", CURL) == after
        assert unchanged(onboarded.play("policy.yml", variables=variables, limit="h2"), "h2")


def test_one_variable(onboarded, host_files):
    """h1 gets another model, h2 a rule of its policy, h3 a variable of the environment."""
    onboarded.serve("h1", alias="tiny-agent,tiny-agent-2")
    onboarded.change("h1", "nemoclaw_inference", model="tiny-agent-2")
    onboarded.change("h2", "nemoclaw_sandboxes", policy={"custom": [RULE]})
    onboarded.change("h3", "nemoclaw_sandboxes", env={"GREETING": "from the fleet"})
    assert onboarded.inside("h2", CURL) == "403"
    assert onboarded.inside("h3", "echo $GREETING") == ""
    changes_made(onboarded, {"h1": {"route/inference.local", CONFIG, REGISTRY}, "h2": {"policy/assistant"}, "h3": {ENV, AGENT}})
    assert onboarded.inside("h2", CURL) == "200"
    assert onboarded.inside("h3", "echo $GREETING") == "from the fleet"


def test_rollback(onboarded):
    """h1 goes back to the plan before, and with the same variables forward again."""
    run = onboarded.play("rollback.yml", limit="h1")
    assert run.rc == 0
    assert changed(run, "h1") == {"route/inference.local", CONFIG, REGISTRY}
    assert answer(run, "h1") == ANSWER
    assert " tiny-agent\n" in onboarded.openshell("h1", "inference", "get")
    forward = onboarded.play("onboard.yml", limit="h1")
    assert changed(forward, "h1") == {"route/inference.local", CONFIG, REGISTRY}


def test_an_upgrade_that_fails_is_rolled_back_and_stops(onboarded):
    """The route is changed before OpenClaw refuses its configuration."""
    bad = [{"name": "assistant", "config": {"agents": {"defaults": {"noSuchSetting": True}}}}]
    timeout = {"nemoclaw_inference": {**onboarded.variables["nemoclaw_inference"], "timeout": 90}}
    run = onboarded.play("upgrade.yml", variables={**timeout, "nemoclaw_sandboxes": bad})
    assert run.rc != 0
    assert "route/inference.local" in changed(run, "h1")
    assert "The host is back at the plan it had" in run.output
    assert "noSuchSetting" in run.output
    assert not {"h2", "h3"} & set(run.executions)
    again = onboarded.play("onboard.yml")
    assert [host for host in onboarded.names if not unchanged(again, host)] == []


def test_changed_by_hand(onboarded):
    """h1: the route and a stopped agent. h2: the policy, and a file in the sandbox. h3: the provider, and a file of the gateway."""
    onboarded.openshell("h1", "inference", "set", "--provider", "compatible-endpoint", "--model", "by-hand", "--timeout", "180", "--no-verify")
    onboarded["h1"].exec("systemctl", "stop", "nemoclaw-agent@assistant")
    policy = json.loads(onboarded.openshell("h2", "policy", "get", "assistant", "--base", "-o", "json"))["policy"]
    policy["network_policies"]["by-hand"] = {"name": "by-hand", "endpoints": [{"host": "example.com", "port": 443}], "binaries": [{"path": "/usr/bin/curl"}]}
    onboarded["h2"].write_file("/tmp/policy.json", json.dumps(policy))
    onboarded.openshell("h2", "policy", "set", "assistant", "--policy", "/tmp/policy.json", "--wait")
    onboarded.inside("h2", "sed -i s/tiny-agent/by-hand/ /sandbox/.openclaw/openclaw.json")
    onboarded.openshell("h3", "provider", "update", "compatible-endpoint", "--credential", "OPENAI_API_KEY", environment=["OPENAI_API_KEY=sk-by-hand"])
    toml = "/home/nemoclaw/.nemoclaw/gateway/gateway.toml"
    onboarded["h3"].sh(f"echo '# by hand' >> {toml}")

    expected = {
        "h1": {"route/inference.local", AGENT},
        "h2": {"policy/assistant", CONFIG},
        "h3": {"provider/compatible-endpoint", f"file/{toml}"},
    }
    check = onboarded.play("onboard.yml", check=True, diff=True)
    found = {(host, change["resource"]): change for host in expected for change in predicted(check, host)}
    assert {host: resources(predicted(check, host)) for host in expected} == expected
    route = found["h1", "route/inference.local"]
    assert (route["field"], route["before"], route["after"]) == ("model", "by-hand", "tiny-agent-2")
    agent = found["h1", AGENT]
    assert (agent["field"], agent["before"], agent["after"]) == ("active", False, True)
    rule = found["h2", "policy/assistant"]
    assert (rule["field"], rule["before"]["endpoints"][0]["host"], rule["after"]) == ("network_policies.by-hand", "example.com", None)
    assert "by-hand" in found["h2", CONFIG]["before"]
    assert "by-hand" not in found["h2", CONFIG]["after"]
    assert found["h3", "provider/compatible-endpoint"]["before"] == "changed outside the fleet"
    assert found["h3", f"file/{toml}"]["before"].endswith("# by hand\n")

    reported = onboarded.play("onboard.yml", variables={"nemoclaw_drift": "report"})
    assert (reported.rc, reported.changed) == (0, 0)
    assert "unit/nemoclaw-agent@assistant.service active: false -> true" in reported.output

    run = onboarded.play("onboard.yml")
    assert run.rc == 0
    assert {host: answer(run, host) for host in ("h1", "h2")} == {"h1": ANSWER, "h2": ANSWER}
    again = onboarded.play("onboard.yml")
    assert [host for host in onboarded.names if not unchanged(again, host)] == []
    assert onboarded.chat("h3"), "the key is the planned one again"


@pytest.fixture
def rotated(onboarded):
    key = f"{onboarded.key}-2"
    onboarded.serve("h1", key=key)
    onboarded.of_host["h1"]["nemoclaw_credentials"] = {"COMPATIBLE_API_KEY": key}
    return key


def test_rotated_key_refused_rebuild_and_another_limit(onboarded, rotated):
    """h1 gets a new key; h2 a memory limit, which takes a rebuild and is refused; h3 shorter answers."""
    onboarded.change("h2", "nemoclaw_sandboxes", memory="3Gi")
    onboarded.change("h3", "nemoclaw_inference", max_tokens=1024)
    onboarded.inside("h2", "echo mine > /sandbox/notes")
    container = "docker ps --quiet --no-trunc --filter label=openshell.ai/sandbox-name=assistant"
    before = onboarded["h2"].sh(container)

    check = onboarded.play("onboard.yml", check=True, diff=True)
    expected = {"h1": {"provider/compatible-endpoint"}, "h2": {"sandbox/assistant"}, "h3": {CONFIG}}
    assert {host: resources(predicted(check, host)) for host in expected} == expected
    assert rotated not in check.output

    run = onboarded.play("onboard.yml")
    assert run.rc != 0
    assert {host for host in onboarded.names if run.recap[host]["failed"]} == {"h2"}
    assert run.recap["h2"]["changed"] == 0
    refused = next(entry["result"]["msg"] for entry in run.results if entry["outcome"] == "failed")
    for part in ("sandbox/assistant", "memory", "nemoclaw_allow_rebuild", "Nothing was changed"):
        assert part in refused
    assert onboarded["h2"].sh(container) == before
    assert onboarded.inside("h2", "cat /sandbox/notes") == "mine"
    assert {host: changed(run, host) for host in ("h1", "h3")} == {"h1": expected["h1"], "h3": expected["h3"]}
    assert answer(run, "h3") == ANSWER
    assert onboarded.chat("h1"), "the gateway has the new key"


def test_rebuild_when_allowed(onboarded):
    run = onboarded.play("onboard.yml", variables={"nemoclaw_allow_rebuild": True})
    assert run.rc == 0
    assert unchanged(run, "h1")
    assert unchanged(run, "h3")
    assert "sandbox/assistant" in resources(predicted(run, "h2"))
    assert answer(run, "h2") == ANSWER
    assert onboarded.inside("h2", "cat /sandbox/notes") == "mine"
    container = onboarded["h2"].sh("docker ps --quiet --filter label=openshell.ai/sandbox-name=assistant")
    assert onboarded["h2"].sh(f"docker inspect --format '{{{{.HostConfig.Memory}}}}' {container}") == str(3 * 2**30)
    again = onboarded.play("onboard.yml")
    assert [host for host in onboarded.names if not unchanged(again, host)] == []
