# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From fresh hosts to agents that answer: predicted, with a host down, killed half-way, finished by the next run, without a trace of the key."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from pathlib import Path

import pytest

from tests.integration.fleet import ANSWER, answer, changed, differences, predicted, resources, save_image, unchanged

SANDBOX = {"image/nemoclaw/openclaw", "sandbox/assistant", "unit/nemoclaw-agent@assistant.service", "forward/assistant-18789", "registry/assistant"}
HOME = "/home/nemoclaw/.nemoclaw"
GATEWAY = {
    *(f"file/{HOME}", f"file/{HOME}/gateway", f"file/{HOME}/gateway/gateway.toml", f"certificates/{HOME}/gateway/tls"),
    *("network/nemoclaw", "unit/nemoclaw-gateway.service", "gateway/nemoclaw"),
}
EVERYTHING = {"user/nemoclaw", "provider/compatible-endpoint", "route/inference.local", "programs/openshell", *GATEWAY, *SANDBOX}


class Watch(threading.Thread):
    """Looks at every process of this machine, and so of all test hosts and sandboxes, for a text in its arguments or its environment."""

    def __init__(self, text: str):
        super().__init__(daemon=True)
        self.text = text.encode()
        self.seen: set[str] = set()  # arguments, each of these three
        self.in_arguments: set[str] = set()
        self.in_environment: set[str] = set()
        self._done = threading.Event()

    def run(self) -> None:
        first: dict[str, bytes] = {}  # arguments at the first look
        settled: set[str] = set()  # looked at twice: a process becomes another program right after its start, if at all
        while not self._done.is_set():
            found = {name for name in os.listdir("/proc") if name.isdigit()}
            for pid in found - settled:
                arguments = self._read(pid, "cmdline")
                if pid in first:
                    settled.add(pid)
                if first.get(pid) == arguments:
                    continue
                words = arguments.replace(b"\0", b" ").decode(errors="replace")
                found_in_environment = self.text in self._read(pid, "environ")
                if self._read(pid, "cmdline") != arguments:  # just becoming another program: looked at again
                    settled.discard(pid)
                    continue
                first[pid] = arguments
                self.seen.add(words)
                if self.text in arguments:
                    self.in_arguments.add(words)
                if found_in_environment:
                    self.in_environment.add(words)
            settled &= found
            first = {pid: arguments for pid, arguments in first.items() if pid in found}
            time.sleep(0.03)

    @staticmethod
    def _read(pid: str, name: str) -> bytes:
        try:
            return Path("/proc", pid, name).read_bytes()
        except OSError:
            return b""

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *error) -> None:
        self._done.set()
        self.join()


@pytest.fixture(scope="module")
def cache(fleet):
    """Directory of Ansible's fact cache."""
    return fleet.directory / "facts"


def test_check_predicts_everything_and_touches_nothing(fresh):
    run = fresh.play("onboard.yml", check=True, diff=True)
    assert run.rc == 0
    expected = {"h1": EVERYTHING, "h2": EVERYTHING - {f"file/{HOME}"}, "h3": EVERYTHING | {"packages/required"}}
    for host, kinds in expected.items():
        assert {name.partition(":")[0] for name in resources(predicted(run, host))} == kinds
        assert run.recap[host]["changed"] == 1
        assert all(name in run.output for name in kinds)
        assert differences(fresh.before[host], fresh.snapshot(host)) == []


def test_host_that_is_down_does_not_stop_the_others(fresh, cache):
    fresh["h3"].stop()
    fresh.touched.update(fresh.names)
    environment = {"ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(cache)}
    with Watch(fresh.key) as watch:
        run = fresh.play("onboard.yml", "-vvv", environment=environment)
    assert run.rc != 0
    assert run.recap["h3"]["unreachable"] == 1
    summary = run.output.rpartition("SUMMARY")[2]
    assert "h3: FAILED" in summary
    assert "unreachable" in summary
    for host in ("h1", "h2"):
        assert run.recap[host]["failed"] == 0
        assert answer(run, host) == ANSWER
        assert f'answered "{ANSWER}"' in summary
        assert fresh.dashboard(host)
    assert watch.in_arguments == set()
    assert any("openshell-gateway" in arguments for arguments in watch.seen), "the watch must see the processes of the hosts"
    assert all("openshell" in arguments for arguments in watch.in_environment), "only the call that hands the key over has it in its environment"
    assert fresh.key not in run.output


def test_killed_half_way(fresh):
    """The machine that runs Ansible dies while a sandbox is made from an image that came from an archive."""
    archive = fresh.directory / "openclaw.tar"
    image = fresh["h1"].sh("docker image ls --format '{{.Repository}}:{{.Tag}}' nemoclaw/openclaw")
    save_image(fresh["h1"], image, archive)
    fresh.of_host["h3"]["nemoclaw_images"] = {"openclaw": {"source": "archive", "name": image, "archive": str(archive)}}
    fresh["h3"].start()
    run = fresh.play("onboard.yml", limit="h3", kill_at="TASK [nemoclaw.fleet.sandbox : Sandbox with its files]")
    assert run.rc == -9
    assert fresh["h3"].sh("systemctl is-active nemoclaw-gateway") == "active"


def test_next_run_finishes_and_leaves_the_others_alone(fresh):
    run = fresh.play("onboard.yml", variables={"nemoclaw_progress_interval": 1})
    assert run.rc == 0
    assert re.search(r"^\[h3\] (sandbox|agent) assistant: .*, \d+ s of at most \d+ s$", run.output, re.MULTILINE)
    assert unchanged(run, "h1")
    assert unchanged(run, "h2")
    assert "unit/nemoclaw-agent@assistant.service" in changed(run, "h3")
    assert not resources(predicted(run, "h3")) & {"packages/required", "user/nemoclaw", "unit/nemoclaw-gateway.service", "programs/openshell"}
    assert answer(run, "h3") == ANSWER
    assert fresh["h3"].sh("docker image ls --quiet nemoclaw/openclaw") == fresh["h1"].sh("docker image ls --quiet nemoclaw/openclaw"), "not built: loaded"


def test_check_of_an_onboarded_fleet_predicts_nothing(fresh):
    run = fresh.play("onboard.yml", check=True, diff=True)
    assert run.rc == 0
    for host in fresh.names:
        assert predicted(run, host) == []
        assert unchanged(run, host)


def test_only_approved_plans_are_applied(fresh, tmp_path):
    """Written, read, kept: the same variables go through; others are refused, and nothing is done."""
    directory = {"nemoclaw_plan_dir": str(tmp_path)}
    other = {"nemoclaw_inference": {**fresh.variables["nemoclaw_inference"], "timeout": 90}}
    planned = fresh.play("plan.yml", variables={**directory, **other})
    assert planned.rc == 0
    assert "3 hosts (h1, h2, h3): route/inference.local timeout: 180 -> 90" in planned.output
    assert len(list(tmp_path.iterdir())) == 3
    refused = fresh.play("onboard.yml", variables=directory)
    assert refused.rc != 0
    for host in fresh.names:
        assert "the variables have changed" in refused.of_host(host, "nemoclaw.fleet.plan")[-1]["msg"]
        assert "inference.route.timeout: 90 -> 180" in refused.of_host(host, "nemoclaw.fleet.plan")[-1]["msg"]
    for path in tmp_path.iterdir():
        path.unlink()
    assert fresh.play("plan.yml", variables=directory).rc == 0
    approved = fresh.play("onboard.yml", variables=directory)
    assert approved.rc == 0
    assert all(unchanged(approved, host) for host in fresh.names)


def test_key_is_nowhere(fresh, cache, tmp_path):
    """It is in the model server's own file and maybe in the gateway's database, nowhere else on host, controller and in the sandbox."""
    assert fresh.play("plan.yml", "-vvv", variables={"nemoclaw_plan_dir": str(tmp_path)}, limit="h1").rc == 0
    assert len(list(tmp_path.iterdir())) == 1
    for directory in (tmp_path, cache, Path.home() / ".ansible" / "tmp"):
        for folder, _folders, names in os.walk(directory):
            for name in names:
                with contextlib.suppress(OSError):  # other runs come and go there
                    assert fresh.key.encode() not in Path(folder, name).read_bytes()

    host = fresh["h1"]
    host.exec("tee", "/run/canary", input=fresh.key)
    search = "grep --recursive --files-with-matches --fixed-strings --file=/run/canary --devices=skip --no-messages"
    # /var/lib/docker: image layers, files of containers, their configuration and logs
    roots = "/var/lib/docker /etc /home /root /usr/local/bin /usr/local/lib /tmp /var/tmp /var/log /run/systemd /run/log /run/user"
    found = host.sh(f"{search} --exclude-dir=merged {roots} || true")
    places = {path for path in found.split("\n") if path}
    assert {path for path in places if not path.startswith(f"{HOME}/gateway/gateway.db")} == {"/etc/llama-server/api-key"}
    assert host.sh("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | grep -c --text --fixed-strings --file=/run/canary || true") == "0"
    for listing in (
        "journalctl --no-pager --output=export",
        "docker ps --all --quiet | xargs docker inspect",
        "docker image ls --all --quiet | xargs docker inspect",
        "docker image ls --all --quiet | xargs -n 1 docker history --no-trunc",
        "systemctl cat 'nemoclaw-*'",
    ):
        assert host.sh(f"{listing} | grep -c '' ") != "0"
        assert host.sh(f"{listing} | grep -c --text --fixed-strings --file=/run/canary || true") == "0", listing
    host.exec("rm", "/run/canary")

    assert "HOME=/sandbox" in fresh.inside("h1", "env")
    assert fresh.key not in fresh.inside("h1", "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'")
    assert fresh.inside("h1", f"grep -rlF -- {fresh.key} /sandbox /tmp /etc 2>/dev/null || true") == ""
    assert json.loads(host.sh(f"cat {HOME}/runs/*/plan.json"))["host"] == "h1", "the applied plan is among the files that were searched"
