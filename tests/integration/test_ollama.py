# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ollama: on a host that has one which listens on all addresses, behind the proxy and for an agent; and on this machine, for pulls that fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.model import OllamaModel
from tests.bed import ollama
from tests.bed.paths import TESTS
from tests.bed.play import Play
from tests.bed.registry import free_ports
from tests.bed.shell import docker, run
from tests.integration.fleet import ANSWER, Fleet, answer, changed, predicted, resources, unchanged

pytestmark = pytest.mark.skipif(bool(ollama.missing()), reason=ollama.missing())

REGISTRY = TESTS / "bed" / "model_registry.py"
WEIGHTS = TESTS / "kit" / "tiny-agent.gguf"
# as Ollama's own installer makes it, and an administrator who wants to reach it from elsewhere
UNIT = """
[Unit]
Description=Ollama Service
After=network-online.target
[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Restart=always
Environment="PATH=/usr/local/bin:/usr/bin:/bin"
[Install]
WantedBy=default.target
"""
WIDE = '[Service]\nEnvironment="OLLAMA_HOST=0.0.0.0"\nEnvironment="OLLAMA_CONTEXT_LENGTH=40960"\n'
OLLAMA = {
    "nemoclaw_inference": {"provider": "ollama", "model": "tiny-agent"},
    "nemoclaw_ollama": {"registry": "127.0.0.1:5001", "insecure": True},
}
STRANGER = "HOME=/root OLLAMA_HOST=0.0.0.0 setsid ollama serve >/dev/null 2>&1 < /dev/null &"


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


# --- pulls, on this machine ---------------------------------------------------------------------------------------------------------------------


class Local:
    """Ollama and the registry as processes of this machine."""

    def __init__(self, home):
        ollama.ensure()
        self.home = home
        self.registry, port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        models = home / "models"
        models.mkdir()
        environment = {"HOME": str(home), "OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(models), "PATH": "/usr/bin:/bin"}
        self.log = (home / "log").open("w")
        commands = [ollama.PROGRAM, "serve"], [sys.executable, REGISTRY, str(self.registry), WEIGHTS]
        self.processes = [subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log) for command in commands]
        deadline = time.monotonic() + 30
        while not (answers(f"{self.url}/api/version") and answers(f"http://127.0.0.1:{self.registry}/v2/library/tiny-agent/manifests/latest")):
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.1)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.log.close()

    def control(self, **how) -> list:
        """Change how the registry serves; what it has served since the last time."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.registry}/control", json.dumps(how).encode())
        with urllib.request.urlopen(request, timeout=5) as said:
            return json.load(said)

    def begun(self) -> None:
        """Wait until some of a model is there, however long the machine takes to ask for it."""
        deadline = time.monotonic() + 30
        while not list((self.home / "models").rglob("*-partial*")):
            assert time.monotonic() < deadline, (self.home / "log").read_text()
            time.sleep(0.05)
        time.sleep(1)

    def desired(self, name="tiny-agent:latest", **more) -> dict:
        source = f"127.0.0.1:{self.registry}/library/{name}"
        return {"name": name, "url": self.url, "source": source, "insecure": True, "stall_timeout": 20, "load_timeouts": [60, 60], **more}

    def apply(self, **desired) -> dict:
        model = OllamaModel(self.desired(**desired))
        state = model.read()
        if changes := model.diff(state):
            model.apply(state, changes)
        assert model.changes() == []
        return model.read()

    def refusal(self, **desired) -> str:
        with pytest.raises(ResourceError) as refused:
            self.apply(**desired)
        return str(refused.value)


@pytest.fixture
def local(tmp_path):
    machine = Local(tmp_path)
    yield machine
    machine.stop()


def test_a_model_comes_and_goes(local):
    found = local.apply(tools=True, warm=True)
    assert found["loaded"]
    assert found["tools"]
    names = [model["name"] for model in OllamaModel(local.desired()).server.models()]
    assert names == ["tiny-agent:latest"], "under its own name alone"
    local.control()
    assert local.apply(digest=found["digest"]) == found
    assert local.control() == [], "nothing is asked of the registry for a model that is there"
    assert local.apply(state="absent") == {}


def test_another_digest(local):
    """A tag that has moved is pulled again where a digest says so; one that the registry does not have is refused."""
    before = local.apply()["digest"]
    other = local.apply(name="tiny-agent:other")["digest"]
    assert other != before
    said = local.refusal(digest=f"sha256:{other}")
    assert f"has the digest {before}, not {other}" in said
    assert "nemoclaw_ollama.models" in said


def test_refusals(local):
    assert "Check the model's name" in local.refusal(name="no-such")
    assert "cannot call tools" in local.refusal(name="no-tools", tools=True)
    assert "cannot call tools" in local.refusal(name="no-tools", tools=True), "also where it is there already"
    local.control(status=403)
    assert "403" in local.refusal(name="denied")
    local.processes[1].kill()
    local.processes[1].wait()
    assert "Check that the host reaches the registry" in local.refusal(name="refused")


def test_a_pull_that_stalls(local):
    """It is broken off and begun anew, then fails with what to do; what was fetched is kept."""
    local.control(rate=100_000)
    threading.Thread(target=lambda: (local.begun(), local.control(rate=0))).start()
    said = local.refusal(stall_timeout=2)
    assert "no byte of" in said
    assert "nemoclaw_ollama.stall_timeout" in said
    assert len([one for one in local.control() if one[0] == "manifest"]) == 2, "twice more, after the first"
    assert local.apply()["size_mb"] == 0
    first = [served[2] for served in local.control() if served[0] == "blob" and served[1] == WEIGHTS.stat().st_size]
    assert first, "the rest is fetched"
    assert first[0] > 0, "and only the rest"


def test_killed_while_pulling(local):
    """The next run goes on where the killed one was."""
    local.control(rate=75_000)
    program = "import json, sys; from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.model import OllamaModel as M; " \
        "M(json.loads(sys.argv[1])).apply({}, [M(json.loads(sys.argv[1])).change('state', 'absent', 'present')])"  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", program, json.dumps(local.desired())]) as puller:
        local.begun()
        puller.kill()
    time.sleep(2)
    assert OllamaModel(local.desired()).read() == {}
    local.control()
    local.apply()
    first = [served[2] for served in local.control() if served[0] == "blob" and served[1] == WEIGHTS.stat().st_size]
    assert [start > 0 for start in first] == [True]


def test_a_full_disk(local):
    models = local.home / "models"
    run("mount", "-t", "tmpfs", "-o", "size=300k", "models", models)
    try:
        said = local.refusal()
    finally:
        run("umount", "--lazy", models)
    assert "no space left on device" in said
    assert "Free space" in said


# --- a host with an Ollama of its own --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def host(fresh) -> Fleet:
    """h1 with Ollama's program, and a registry of models."""
    ollama.ensure()
    h1 = fresh["h1"]
    docker("cp", ollama.PROGRAM, f"{h1.container}:/usr/local/bin/ollama")
    h1.write_file("/root/model_registry.py", REGISTRY.read_text())
    h1.sh("systemd-run --quiet --unit=models python3 /root/model_registry.py 5001 /opt/tiny-agent/tiny-agent.gguf")
    fresh.touched.add("h1")
    fresh.of_host["h1"] = OLLAMA
    yield fresh
    fresh.of_host["h1"] = {}


def listens(host: Fleet) -> set[str]:
    """The addresses that Ollama listens on."""
    return {line.split()[3] for line in host["h1"].sh("ss -ltnH 'sport = :11434'").splitlines()}


def test_a_stranger_is_named_and_left_alone(host):
    host["h1"].sh(STRANGER)
    host["h1"].await_port(11434)
    found = host.play("onboard.yml")
    assert found.rc != 0
    pid = host["h1"].sh("pgrep -x ollama")
    assert f"11434 is held by ollama (pid {pid}, user root) on ::" in found.output
    assert "it is left alone" in found.output
    assert answers(f"http://{host['h1'].address}:11434/api/version")
    host["h1"].sh(f"kill {pid}")


def test_one_that_listens_everywhere_is_rebound(host):
    h1 = host["h1"]
    h1.sh("useradd --system --create-home --home-dir /usr/share/ollama ollama")
    h1.write_file("/etc/systemd/system/ollama.service", UNIT)
    h1.write_file("/etc/systemd/system/ollama.service.d/override.conf", WIDE)
    h1.sh("systemctl daemon-reload && systemctl enable --now --quiet ollama")
    h1.await_port(11434)
    assert answers(f"http://{h1.address}:11434/api/version")
    check = host.play("onboard.yml", check=True, diff=True)
    assert {"ollama/ollama.service", "model/tiny-agent:latest"} <= resources(predicted(check, "h1"))
    run_ = host.play("onboard.yml")
    assert run_.rc == 0
    assert listens(host) == {"127.0.0.1:11434"}
    assert not answers(f"http://{h1.address}:11434/api/version")
    assert h1.read_file("/etc/systemd/system/ollama.service") == UNIT
    assert answer(run_, "h1") == ANSWER
    assert host.chat("h1")


def test_the_second_run_changes_nothing(host):
    again = host.play("onboard.yml")
    assert unchanged(again, "h1")
    environment = host["h1"].sh("systemctl show --value -p Environment ollama")
    assert "OLLAMA_CONTEXT_LENGTH=40960" in environment, "the longer one of the administrator stays"


def slow_pull(host: Fleet, directory, seconds: int, **variables) -> Play:
    """The model pulled anew, in about so many seconds."""
    body = json.dumps({"rate": WEIGHTS.stat().st_size // seconds})
    host["h1"].sh(f"ollama rm tiny-agent && curl --silent --fail --data '{body}' http://127.0.0.1:5001/control")
    task = {"nemoclaw.fleet.ollama_model": {"name": "tiny-agent", "source": "127.0.0.1:5001/library/tiny-agent", "insecure": True}}
    path = directory / "slow.yml"
    path.write_text(json.dumps([{"hosts": "all", "become": True, "gather_facts": False, "tasks": [{"name": "Model", **task}]}]))
    run = host.play(str(path), variables={"nemoclaw_progress_interval": 1, **variables})
    host["h1"].sh("curl --silent --fail --data '{}' http://127.0.0.1:5001/control")
    assert run.rc == 0
    return run


def test_progress_is_shown_while_it_works(host, tmp_path):
    """Lines that are each further than the one before were read during the pull. Who cannot look sees the same but for them."""
    run = slow_pull(host, tmp_path, 8)
    during, _changed, rest = run.output.partition("changed: [h1]")
    seen = [int(share) for share in re.findall(r"^\[h1\] model tiny-agent:latest: .* of 501 kB \((\d+) %\)", during, re.MULTILINE)]
    assert len(seen) >= 3
    assert seen == sorted(set(seen))
    assert "[h1] model" not in rest
    assert run.executions["h1"] == ["nemoclaw.fleet.ollama_model"]
    assert host["h1"].exec("test", "-e", "/run/nemoclaw-progress", check=False).returncode == 1
    asked, ssh = tmp_path / "asked", tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\ncase "$*" in *"cat /run/nemoclaw-progress/"*) echo >> {asked}; exit 255;; esac\nexec ssh "$@"\n')
    ssh.chmod(0o755)
    blind = slow_pull(host, tmp_path, 4, ansible_ssh_executable=str(ssh))
    assert asked.exists()
    assert blind.results == run.results
    assert blind.output == "".join(line for line in run.output.splitlines(keepends=True) if not line.startswith("[h1] model "))


def test_there_again_after_a_reboot(host):
    host["h1"].reboot()
    host["h1"].sh("systemd-run --quiet --unit=models python3 /root/model_registry.py 5001 /opt/tiny-agent/tiny-agent.gguf")
    host.await_agent("h1")
    assert unchanged(host.play("onboard.yml"), "h1")


# --- another provider after it --------------------------------------------------------------------------------------------------------------------


def leftovers(run: Play) -> list[str]:
    """What a run warns of as left over."""
    return [warning for found in run.of_host("h1", "nemoclaw.fleet.plan") for warning in found.get("warnings", [])]


def test_what_it_needed_is_left_and_named(host):
    """The server and the proxy of the provider before run on, and every run says so, with what to do."""
    host.of_host["h1"] = {}
    switched = host.play("onboard.yml")
    assert switched.rc == 0
    assert answer(switched, "h1") == ANSWER
    server, proxy = leftovers(switched)
    assert "h1: ollama.service of an earlier run runs on port 11434" in server
    assert "nemoclaw_ollama: {state: absent}" in server
    assert "h1: nemoclaw-proxy.service of an earlier run runs on port 11435" in proxy
    assert "nemoclaw_prune: true" in switched.output
    assert listens(host) == {"127.0.0.1:11434"}
    again = host.play("onboard.yml")
    assert unchanged(again, "h1")
    assert len(leftovers(again)) == 2
    assert server.partition(": ")[2] in host.play("status.yml").output


def test_it_is_kept_while_the_new_provider_does_not_answer(host):
    host.of_host["h1"] = {"nemoclaw_prune": True}
    host["h1"].sh("systemctl stop llama-server")
    assert host.play("onboard.yml").rc != 0
    host["h1"].sh("systemctl start llama-server && bed-ready && systemctl is-active nemoclaw-proxy")
    assert listens(host) == {"127.0.0.1:11434"}


def test_pruned_is_what_was_made_here(host):
    wanted = {"ollama/ollama.service", "unit/nemoclaw-proxy.service", "proxy/nemoclaw-proxy"}
    assert resources(predicted(host.play("onboard.yml", check=True, diff=True), "h1")) == wanted
    pruned = host.play("onboard.yml")
    assert pruned.rc == 0
    assert answer(pruned, "h1") == ANSWER, "asked before anything goes"
    assert host["h1"].sh("ls /etc/systemd/system/ollama.service.d; systemctl is-active ollama") == "override.conf\nactive"
    assert host["h1"].sh("ls -d /etc/nemoclaw/proxy /etc/systemd/system/nemoclaw-proxy.service 2>/dev/null || true") == ""
    again = host.play("onboard.yml")
    assert unchanged(again, "h1")
    assert leftovers(again) == []
    host.of_host["h1"] = OLLAMA


def test_stopped_and_deleted_is_mended(host):
    host["h1"].sh("ollama rm tiny-agent && systemctl disable --now --quiet ollama")
    mended = host.play("onboard.yml")
    assert mended.rc == 0
    assert "ollama/ollama.service" in changed(mended, "h1")
    assert answer(mended, "h1") == ANSWER, "the model was pulled again"


def test_offboarding_gives_it_back(host):
    """Whatever the variables say by then."""
    host.of_host["h1"] = {}
    gone = host.play("offboard.yml")
    assert gone.rc == 0
    assert host["h1"].sh("ls /etc/systemd/system/ollama.service.d") == "override.conf"
    assert host["h1"].sh("systemctl is-active ollama") == "active"
    assert "tiny-agent" in host["h1"].sh("ollama list")
