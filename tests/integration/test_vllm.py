# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A managed vLLM on one host: onboarded in one run, back after a reboot, replaced only by one that answers. Its image is a stand-in (tests/kit/vllm)."""

from __future__ import annotations

import json
import secrets

import pytest
import yaml

from tests.bed.model_hub import Hub
from tests.bed.paths import CHECKOUT, TESTS
from tests.integration.fleet import ANSWER, Fleet, answer, changed, predicted, resources, unchanged

IMAGE = "vllm-standin:1"
BUILD = f"""
mkdir -p /root/vllm && cp -r /opt/llama-server /opt/tiny-agent /root/vllm/ && cp /opt/tiny-agent/vllm/Dockerfile /root/vllm/
docker build --quiet --tag {IMAGE} /root/vllm && rm -r /root/vllm
"""
# the download breaks off once, and goes on
SETTINGS = {"image": IMAGE, "gpu_memory_utilization": 0.4, "env": {"STANDIN_BREAK": "2"}}
TOKEN = f"hf_canary{secrets.token_hex(16)}"
OTHERS = """/opt/tiny-agent/llama-server --model /opt/tiny-agent/tiny-agent.gguf --alias tiny-agent --chat-template-file /opt/tiny-agent/last-user.jinja
--host 127.0.0.1 --port 8200 --ctx-size 65536 --predict 256 --parallel 1 --threads 1 --temp 0""".replace("\n", " ")
SERVED = "nvidia/NVIDIA-Nemotron-3-Nano-4B-FP8"
CATALOGUE = yaml.safe_load((CHECKOUT / "blueprint" / "inference" / "vllm.yaml").read_text())["models"]


@pytest.fixture(scope="module")
def host(fleet):
    return fleet[fleet.names[0]]


@pytest.fixture(scope="module")
def served(fleet, host) -> Fleet:
    """The fleet's host with a GPU, the stand-in for vLLM's image, and a hub of which it is asked whether the token is right."""
    fleet.fresh()
    fleet.touched.add(host.name)
    host.install_gpus(driver="580.95.05")
    host.sh(BUILD)
    fleet.of_host[host.name] = {
        "nemoclaw_inference": {"provider": "install-vllm", "max_tokens": 2048},
        "nemoclaw_credentials": {"HF_TOKEN": TOKEN},
    }
    [revision] = (model["revision"] for model in CATALOGUE.values() if model["id"] == SERVED)
    with Hub(f"{fleet.bed.prefix}.1", SERVED, revision, TESTS / "kit" / "tiny-agent", TOKEN) as fleet.hub:
        change(fleet, host)
        yield fleet


def container(host) -> dict:
    return json.loads(host.sh("docker inspect nemoclaw-vllm"))[0]


def change(served, host, **settings) -> None:
    environment = {"HF_ENDPOINT": served.hub.url, **settings.pop("env", SETTINGS["env"])}
    served.of_host[host.name]["nemoclaw_vllm"] = {**SETTINGS, "env": environment, **settings}


def test_a_wrong_token_is_found_before_anything_is_fetched(served, host):
    change(served, host, image="localhost:1/none:1")
    served.of_host[host.name]["nemoclaw_credentials"] = {"HF_TOKEN": "hf_wrong"}
    run = served.play("onboard.yml")
    change(served, host)
    served.of_host[host.name]["nemoclaw_credentials"] = {"HF_TOKEN": TOKEN}
    assert run.recap[host.name]["failed"]
    assert "Invalid credentials in Authorization header. Set nemoclaw_credentials.HF_TOKEN to a token that is valid." in run.output
    assert "localhost:1/none" not in host.sh("journalctl --no-pager --unit=docker")


def test_one_run(served, host):
    check = served.play("onboard.yml", check=True, diff=True)
    assert check.rc == 0
    assert {"secret//etc/nemoclaw/vllm/api-key", f"weights/{SERVED}", "vllm/nemoclaw-vllm"} <= resources(predicted(check, host.name))
    run = served.play("onboard.yml")
    assert run.rc == 0
    assert answer(run, host.name) == ANSWER
    assert unchanged(served.play("onboard.yml"), host.name)


def test_what_was_fetched_is_gone_on_with(host):
    assert "Connection reset by peer" in host.sh("journalctl --no-pager --identifier=nemoclaw")
    folder = f"/home/nemoclaw/.cache/huggingface/hub/models--{SERVED.replace('/', '--')}"
    assert host.sh(f"find {folder}/blobs -type f -printf '%f %s %u\\n'") == "0123abcd 4000 nemoclaw"


def test_only_who_has_the_key_is_served(host):
    bound = {(port["HostIp"], port["HostPort"]) for port in container(host)["NetworkSettings"]["Ports"]["8000/tcp"]}
    assert bound == {("127.0.0.1", "8000"), ("172.30.200.1", "8000")}
    ask = "curl -s -o /dev/null -w %{http_code} http://127.0.0.1:8000/v1/models"
    assert host.sh(ask) == "401"
    assert host.sh(f'{ask} -H "authorization: Bearer $(cat /etc/nemoclaw/vllm/api-key)"') == "200"
    assert host.sh("stat -c '%a %U' /etc/nemoclaw/vllm/api-key /etc/nemoclaw/vllm/hf-token").split("\n") == ["600 root", "600 nemoclaw"]


def test_secrets_are_where_they_belong(served, host):
    """Neither in what the engine tells and logs of any container, nor in the journal, nor in what is kept of runs."""
    key = host.sh("cat /etc/nemoclaw/vllm/api-key")
    told = "docker inspect $(docker ps --all --quiet); for c in $(docker ps --all --quiet); do docker logs $c 2>&1; done; journalctl --no-pager"
    seen = host.sh(f"({told}; cat /home/nemoclaw/.nemoclaw/runs/*/*; ps -eo args) | grep --count --fixed-strings -e {key} -e {TOKEN} || true")
    # the search itself is one of the processes
    assert int(seen) <= 2
    assert host.sh("docker exec nemoclaw-vllm cat /run/secrets/hf-token") == TOKEN


def test_the_server_has_its_gpu_and_an_init(host):
    found = container(host)
    assert found["HostConfig"]["Init"]
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert host.sh("docker exec nemoclaw-vllm ls /dev | grep nvidia").split() == ["nvidia0", "nvidiactl"]


def test_reboot(served, host):
    host.reboot()
    served.await_agent(host.name)
    assert unchanged(served.play("onboard.yml"), host.name)


def test_a_flag_that_the_image_does_not_know(served, host):
    before = container(host)["Id"]
    change(served, host, extra_args=["--from-nowhere", "1"])
    run = served.play("onboard.yml")
    assert run.recap[host.name]["failed"]
    assert "unrecognized arguments: --from-nowhere 1. Nothing was changed." in run.output
    assert container(host)["Id"] == before
    assert served.chat(host.name)


def test_one_that_ends_early_beside_the_old_one(served, host):
    before = container(host)["State"]["StartedAt"]
    change(served, host, env={"STANDIN_EXIT": "3"})
    run = served.play("onboard.yml")
    assert run.recap[host.name]["failed"]
    assert "ended before it answered (exit code 3)" in run.output
    assert "CUDA out of memory. Tried to allocate 2.00 GiB." in run.output
    assert container(host)["State"]["StartedAt"] == before


def test_one_that_ends_early_where_there_is_no_room_for_two(served, host):
    before = container(host)["Id"]
    change(served, host, env={"STANDIN_EXIT": "3"}, gpu_memory_utilization=0.7)
    run = served.play("onboard.yml")
    assert run.recap[host.name]["failed"]
    assert "The container from before serves again." in run.output
    assert container(host)["Id"] == before
    assert served.chat(host.name)
    assert host.sh("docker ps --all --format '{{.Names}}' | grep vllm") == "nemoclaw-vllm"


def test_other_settings(served, host):
    """And the token withdrawn, which this model does not need."""
    before = container(host)["Id"]
    change(served, host, extra_args=["--seed", "7"])
    served.of_host[host.name]["nemoclaw_credentials"] = {}
    run = served.play("onboard.yml")
    assert run.rc == 0
    assert changed(run, host.name) == {"vllm/nemoclaw-vllm", "credential//etc/nemoclaw/vllm/hf-token"}
    assert container(host)["Id"] != before
    assert answer(run, host.name) == ANSWER
    assert host.sh("ls /etc/nemoclaw/vllm") == "api-key"


def test_another_provider_leaves_it_with_its_gpu(served, host):
    """Also what the engine needs for that."""
    before = container(host)
    served.of_host[host.name] = {}
    run = served.play("onboard.yml")
    assert run.rc == 0
    assert f"{host.name}: nemoclaw-vllm of an earlier run runs on port 8000" in " ".join(run.output.split())
    assert container(host)["State"] == before["State"]
    assert json.loads(host.read_file("/etc/docker/daemon.json"))["features"]["cdi"]


def test_it_goes_and_another_server_is_used_as_it_is(served, host):
    """Weights stay; a server of somebody else's, on the loopback and without a key, is reached through the proxy."""
    host.sh(f"systemd-run --quiet --unit=others {OTHERS}")
    served.of_host[host.name] = {
        "nemoclaw_inference": {"provider": "vllm", "endpoint_url": "http://127.0.0.1:8200/v1", "context_window": 65536, "max_tokens": 2048},
        "nemoclaw_vllm": {"state": "absent"},
        "nemoclaw_credentials": {},
    }
    host.sh("until curl -sf http://127.0.0.1:8200/v1/models; do sleep 0.2; done", timeout=120)
    run = served.play("onboard.yml")
    assert run.rc == 0
    assert answer(run, host.name) == ANSWER
    assert host.sh("docker ps --all --format '{{.Names}}' | grep vllm; ls /etc/nemoclaw/vllm; ls /etc/systemd/system | grep vllm", check=False) == ""
    assert host.sh("ls /home/nemoclaw/.cache/huggingface/hub") == f"models--{SERVED.replace('/', '--')}"
    assert unchanged(served.play("onboard.yml"), host.name)
