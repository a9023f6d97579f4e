# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the one client runs openshell: arguments, stdin, environment, time, repetition, errors."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import exec as inside
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import RETRIES, OpenShell, OpenShellError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from tests.unit.recorded import Answers, Scripted, answer, steps

SECRET = "sk-canary-9f2c"
OK = (0, "", "")
# The gateway's answers when it cannot take a request now; the codes' texts are those of its RPC library, whose others are in the transcripts.
UNAVAILABLE = (1, "", "Error:   \u00d7 code: 'The service is currently unavailable', message: \"try again\"\n\n")
ABORTED = (1, "", "Error:   \u00d7 code: 'The operation was aborted', message: \"sandbox was modified by\n  │ another operation\"\n\n")
EXISTS = answer("provider_lifecycle", "provider create --name llm --type openai --credential OPENAI_API_KEY --config", failed=True)


def test_a_call_is_an_argument_list_with_nothing_to_read(openshell):
    run = Scripted(OK)
    openshell(run).call("provider", "list", "-o", "json")
    [(argv, how)] = run.made
    assert argv[1:] == ["-g", "nemoclaw", "provider", "list", "-o", "json"]
    assert os.path.basename(argv[0]) == "openshell"
    assert how["stdin"] is subprocess.DEVNULL
    assert not how.get("shell")
    assert how["timeout"] == 60


def test_standard_input_is_given_as_it_is(openshell):
    run = Scripted(OK)
    openshell(run).call("sandbox", "exec", stdin="a\nb")
    assert run.made[0][1]["input"] == "a\nb"
    assert "stdin" not in run.made[0][1]


def test_the_environment_is_its_own(openshell, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENSHELL_GATEWAY", "somebody-elses")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org")
    run = Scripted(OK)
    openshell(run).call("status")
    environment = run.made[0][1]["env"]
    assert environment["HOME"] == str(tmp_path)
    assert environment["NO_COLOR"] == "1"
    assert not {"OPENSHELL_GATEWAY", "HTTPS_PROXY"} & set(environment)


def test_a_secret_is_in_the_environment_only(openshell):
    run = Scripted(EXISTS)
    with pytest.raises(OpenShellError) as error:
        openshell(run).call("provider", "create", "--name", "llm", "--credential", "OPENAI_API_KEY", env={"OPENAI_API_KEY": SECRET})
    [(argv, how)] = run.made
    assert how["env"]["OPENAI_API_KEY"] == SECRET
    assert SECRET not in " ".join(argv)
    assert SECRET not in f"{error.value} {error.value.argv}"


def test_the_privileges_are_the_owners(openshell, monkeypatch):
    run = Scripted(OK)
    client = openshell(run)
    monkeypatch.setattr(os, "geteuid", lambda: client.account.pw_uid + 1)
    client.call("status")
    how = run.made[0][1]
    assert (how["user"], how["group"]) == (client.account.pw_uid, client.account.pw_gid)
    assert client.account.pw_gid in how["extra_groups"]


def test_too_long_is_a_timeout(openshell):
    run = Scripted(subprocess.TimeoutExpired("openshell", 7))
    with pytest.raises(OpenShellError, match="no answer within 7 s") as error:
        openshell(run).call("sandbox", "get", "a", timeout=7, check=False)
    assert (error.value.kind, error.value.rc) == ("timeout", None)
    assert len(run.made) == 1


@pytest.mark.parametrize("passing", [UNAVAILABLE, ABORTED], ids=["unavailable", "aborted"])
def test_what_passes_is_tried_again(openshell, passing):
    run = Scripted(passing, passing, (0, "[]", ""))
    assert openshell(run).call("provider", "list").stdout == "[]"
    assert len(run.made) == 3


@pytest.mark.parametrize(("passing", "kind"), [(UNAVAILABLE, "unavailable"), (ABORTED, "aborted")])
def test_not_for_ever(openshell, passing, kind):
    run = Scripted(passing)
    with pytest.raises(OpenShellError) as error:
        openshell(run).call("provider", "list")
    assert (error.value.kind, len(run.made)) == (kind, RETRIES)
    assert error.value.remedy


def test_what_is_not_idempotent_is_tried_once(openshell):
    run = Scripted(UNAVAILABLE)
    with pytest.raises(OpenShellError):
        openshell(run).call("sandbox", "create", retry=False)
    assert len(run.made) == 1


def test_a_real_refusal_is_not_repeated(openshell):
    run = Scripted(EXISTS)
    with pytest.raises(OpenShellError, match="provider already exists") as error:
        openshell(run).call("provider", "create")
    assert (error.value.kind, error.value.rc, len(run.made)) == ("already_exists", 1, 1)


def test_an_unchecked_failure_is_returned(openshell):
    assert openshell(Scripted((7, "out", "err"))).call("sandbox", "exec", check=False) == (7, "out", "err")


def test_an_object_that_is_not_there_is_none(openshell):
    client = openshell(Answers("container_lost", after="docker rm"))
    assert client.find("sandbox", "get", "b") is None


def test_another_failure_is_not_taken_for_absence(openshell):
    client = openshell(Answers("gateway_down"))
    with pytest.raises(OpenShellError) as error:
        client.json("provider", "list")
    assert error.value.kind == "unreachable"
    assert "systemctl status nemoclaw-gateway" in error.value.remedy


def test_an_answer_that_is_no_json(openshell):
    with pytest.raises(OpenShellError, match="not JSON"):
        openshell(Scripted((0, "No gateways found.\n", ""))).json("gateway", "list")


@pytest.mark.parametrize(
    ("scenario", "connected"), [("onboard_first_and_again", True), ("gateway_down", False), ("unconfigured", False), ("gateway_broken_registration", False)]
)
def test_connected_or_not(openshell, scenario, connected):
    assert openshell(Answers(scenario)).connected() is connected


def test_the_version_is_asked_without_a_gateway(openshell):
    run = Answers("onboard_first_and_again")
    assert openshell(run).version() == "0.0.106"
    assert run.made[0][0] == ["--version"]


def test_a_missing_program_and_a_missing_user_say_what_to_do(tmp_path, openshell):
    with pytest.raises(ResourceError, match=r"is not installed.*nemoclaw_openshell"):
        OpenShell("nemoclaw", bin_dir=str(tmp_path / "empty")).call("status")
    client = openshell(Scripted(OK), owner="nobody-of-that-name")
    assert not client.installed
    with pytest.raises(ResourceError, match=r"nobody-of-that-name does not exist.*nemoclaw_user"):
        client.call("status")


# --- commands inside a sandbox ----------------------------------------------------------------------------------------------------------


def test_a_command_inside(openshell):
    run = Answers("exec", loose=("sandbox exec",))
    output = inside.run(openshell(run), "a", ["cat"], stdin="line1\nline2\n", env={"K": "v"}, workdir="/tmp")
    assert output == (0, "line1\nline2\n", "")
    assert run.made[0][0] == [*"sandbox exec --name a --no-tty --timeout 60 --env K=v --workdir /tmp -- cat".split()]


def test_a_command_that_does_not_end(openshell):
    run = Scripted(answer("exec", "--timeout 2 -- sleep 30"))
    with pytest.raises(OpenShellError, match="sleep in the sandbox a did not end within 2 s") as error:
        inside.run(openshell(run), "a", ["sleep", "30"], timeout=2)
    assert error.value.kind == "timeout"
    assert run.made[0][1]["timeout"] > 2  # the client's own limit comes after the gateway's


def test_a_sandbox_that_is_out_of_reach_for_a_moment(openshell):
    """Its container was just started again: files are looked at once more, a command is not run twice."""
    run = Scripted(UNAVAILABLE, (0, "aa  /etc/one\n", ""), UNAVAILABLE, (0, "0600  /etc/one\n", ""))
    assert inside.digests(openshell(run), "a", ["/etc/one"]) == {"/etc/one": {"sha256": "aa", "mode": "0600"}}
    run = Scripted(UNAVAILABLE, OK)
    with pytest.raises(OpenShellError) as error:
        inside.run(openshell(run), "a", ["touch", "/etc/one"])
    assert (error.value.kind, len(run.made)) == ("unavailable", 1)


@pytest.mark.parametrize(("words", "rc"), [("ls /root", 2), ("touch /usr/x", 1), ("/etc/passwd", 126)])
def test_a_command_that_fails_is_an_answer(openshell, words, rc):
    assert inside.run(openshell(Scripted(answer("exec", f"-- {words}"))), "a", words.split()).rc == rc


@pytest.mark.parametrize(
    ("scenario", "sandbox", "kind"), [("exec", "nope", "not_found"), ("sandbox_lifecycle", "a", "not_ready"), ("gateway_down", "a", "unreachable")]
)
def test_a_command_that_could_not_be_run_is_an_error(openshell, scenario, sandbox, kind):
    recorded = next(
        s for s in steps(scenario) if s.get("argv", [])[3:7] == ["sandbox", "exec", "--name", sandbox] and s["exit"] == 1 and s["stderr"].startswith("Error:")
    )
    run = Scripted((recorded["exit"], recorded["stdout"], recorded["stderr"]))
    with pytest.raises(OpenShellError) as error:
        inside.run(openshell(run), sandbox, ["true"])
    assert (error.value.kind, len(run.made)) == (kind, 1)
