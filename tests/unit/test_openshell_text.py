# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Error texts of the real openshell: joined to what they were before they were wrapped, and classified."""

from __future__ import annotations

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import text
from tests.unit.recorded import calls, steps

# The commands that this collection runs; what else was recorded may classify as it likes.
OURS = """status
gateway list,gateway add,gateway remove
provider list,provider create,provider update,provider delete
inference get,inference set,inference delete
sandbox get,sandbox list,sandbox create,sandbox start,sandbox delete
policy get,policy set""".replace("\n", ",").split(",")

# What each recorded failure of them is; the first text that the joined message contains decides.
KINDS = {
    # the gateway's own codes
    "Client specified an invalid argument": "invalid",
    "Some requested entity was not found": "not_found",
    "Some entity that we attempted to create already exists": "already_exists",
    "The system is not in a state required": "precondition",
    # the connection
    "No active gateway": "no_gateway",
    "Unknown gateway 'nope'": "unknown_gateway",
    "No gateway metadata found for": "unknown_gateway",
    "invalid peer certificate": "certificates",
    "failed to read TLS": "certificates",
    "mTLS certificates for gateway": "certificates",
    "tcp connect error": "unreachable",
    # what the command line finds by itself
    "already exists": "already_exists",
    "not found in workspace": "not_found",
    "not found and": "not_found",
    "failed to parse sandbox policy YAML": "invalid",
    "sandbox entered error phase while provisioning": "other",
    "failed to verify inference endpoint": "other",
    "failed to load": "other",
    "has unsupported type": "other",
    "unsupported provider type": "other",
    "no existing local credentials": "other",
    "missing required provider": "other",
    "requires local env var": "other",
    "require confirmation; pass --yes": "other",
    "ssh exited with status": "other",
    "expects KEY=VALUE": "other",
    "--env key": "other",
    "--driver-config-json must be": "other",
    "invalid label format": "other",
    "invalid --cpu value": "other",
    "invalid --memory value": "other",
    "must be greater than zero": "other",
    "model_id is required": "other",
    "failed to read sandbox policy from": "other",
    "No sandbox name provided": "other",
    "Timeout waiting for policy version": "other",
    "error: ": "usage",
}


def command(step: dict) -> str:
    words = step["argv"][3:] if step["argv"][1] == "-g" else step["argv"][1:]
    return words[0] if words[0] == "status" else " ".join(words[:2])


FAILURES = [(scenario, step) for scenario, step in calls() if step["exit"] not in (0, "timeout") and step["stderr"] and command(step) in OURS]


@pytest.mark.parametrize(("scenario", "step"), FAILURES, ids=[f"{scenario}: {command(step)}" for scenario, step in FAILURES])
def test_every_recorded_failure_has_its_kind(scenario, step):
    message = text.unwrap(step["stderr"])
    expected = next((kind for words, kind in KINDS.items() if words in message), None)
    assert text.classify(message) == expected, message


def test_the_table_says_nothing_that_was_not_recorded():
    messages = [text.unwrap(step["stderr"]) for _scenario, step in FAILURES]
    assert [words for words in KINDS if not any(words in message for message in messages)] == []


def failure(scenario: str, words: str) -> str:
    return next(step["stderr"] for step in steps(scenario) if words in " ".join(step.get("argv", [])) and step["exit"])


@pytest.mark.parametrize(
    ("recorded", "joined"),
    [
        (
            failure("container_lost", "sandbox start a"),
            "code: 'The system is not in a state required for the operation's execution', message: "
            '"sandbox must be Stopped to start (current phase: Error)"',
        ),
        (
            failure("gateway_broken_registration", "status -o json"),
            "failed to read TLS key from <DIR>/config/openshell/gateways/nemoclaw/mtls/tls.key No such file or directory (os error 2)",
        ),
        (failure("gateway_down", "sandbox list"), "transport error tcp connect error tcp connect error Connection refused (os error 111)"),
        (
            failure("sandbox_errors", "--provider openai"),
            "Missing provider: openai missing required provider 'openai'. "
            "Create it first with `openshell provider create --type openai --name openai --from-existing`, "
            "pass --auto-providers to auto-create, or set it up manually from inside the sandbox",
        ),
    ],
    ids=["split anywhere", "split after a slash", "causes", "split after a hyphen"],
)  # fmt: skip
def test_a_wrapped_error_is_one_sentence(recorded, joined):
    assert text.unwrap(recorded) == joined


def test_the_gateways_own_words():
    message = text.unwrap(failure("policy_set", "ll.yaml"))
    assert text.server_message(message) == "landlock policy cannot be changed on a live sandbox (applied at startup)"
    assert text.server_message("no such frame") == "no such frame"


def test_every_kind_with_a_remedy_can_be_found():
    kinds = {kind for kind, _pattern in text._KINDS}
    assert set(text.REMEDIES) <= kinds


def test_the_last_error_of_a_log():
    """As the gateway wrote them to its journal."""
    log = (
        "\x1b[2m2026-11-21T16:28:13Z\x1b[0m \x1b[32m INFO\x1b[0m Starting OpenShell server bind=127.0.0.1:8080\n"
        "Error:   × execution error: database error: failed to set permissions on /home/\n  │ nemoclaw/.nemoclaw/gateway/gateway.db\n\n"
    )
    said = text.last_error(log + log)
    assert said == "execution error: database error: failed to set permissions on /home/nemoclaw/.nemoclaw/gateway/gateway.db"
    assert text.classify(said) == "database"
    assert text.last_error(log.splitlines()[0]) == "2026-11-21T16:28:13Z INFO Starting OpenShell server bind=127.0.0.1:8080"
    assert text.last_error("") == ""


@pytest.mark.parametrize("step", [step for step in steps("gateway_damaged") if step.get("exit") == 1 and step["argv"][0] != "openshell"])
def test_damaged_certificates(step):
    assert text.classify(text.last_error(step["stderr"])) == "pki"


def test_fields_of_a_section():
    listing = next(step["stdout"] for step in reversed(steps("onboard_first_and_again")) if step.get("argv", [])[-2:] == ["inference", "get"])
    assert text.fields(listing, "Inference") == {"Workspace": "default", "Provider": "local", "Model": "tiny-agent", "Version": "1", "Timeout": "180s"}
    assert text.fields(listing, "System inference") == {}
