# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an earlier provider has left on a host: what counts as that, what is refused beside it, and what its removal makes."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml

from ansible_collections.nemoclaw.fleet.plugins.module_utils._drift import Drift, components, serving_of
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.login import Logins
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import engine
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.servers import proxy_of
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.container import SPEC
from tests.unit.test_plan import LEAST, plan, run
from tests.unit.test_plan_vllm import H100, LINUX, SPARK
from tests.unit.test_plan_vllm import facts as of_gpus

ROOT = pathlib.Path(__file__).resolve().parents[2]
NIM = {
    "nemoclaw_inference": {"provider": "nim", "model": "meta/llama-3.1-8b-instruct"},
    "nemoclaw_credentials": {"NGC_API_KEY": "nvapi-canary"},
    "nemoclaw_sandboxes": [{"name": "assistant"}],
}
VLLM = {"nemoclaw_inference": {"provider": "install-vllm"}, "nemoclaw_credentials": {}, "nemoclaw_sandboxes": []}
CLOUD = {**LEAST, "nemoclaw_inference": {**LEAST["nemoclaw_inference"], "endpoint_url": "https://llm.example.org/v1"}}
OLLAMA = {"path": "/usr/local/bin/ollama", "version": "0.13.5", "ours": True, "listeners": [], "port": 11434}
OLLAMA["unit"] = {"name": "ollama.service", "state": "active", "pid": 7, "environment": {"OLLAMA_HOST": "127.0.0.1:11434"}}


def facts(*gpus, **more):
    """Facts of a host that can give its GPUs to containers."""
    found = of_gpus(*gpus, **more)
    return {**found, "docker": {**found["docker"], "version": "26.1.5"}, "cdi": {**found["cdi"], "ctk": "/usr/bin/nvidia-ctk"}}


def after(given, kind, on, state="running"):
    """Facts of a host on which this plan was applied: its container as the engine lists it, and its proxy."""
    made = plan(given, facts=on)
    wanted = next(entry for entry in made["serving"][kind]["resources"] if entry["resource"] == kind)
    (server,) = serving_of({"resources": [wanted]}, {})
    labels = {**server.desired["labels"], SPEC: json.dumps(server.spec)}
    listed = engine._describe_server({"Names": [f"/{server.name}"], "Labels": labels, "State": state})
    proxies = [proxy_of("nemoclaw", entry["config"]) for entry in made["proxy"].get("resources", []) if entry["resource"] == "proxy"]
    return {**on, "docker": {**on["docker"], "servers": [listed]}, "servers": {**on.get("servers", {}), "proxies": proxies}}


def kinds(given, on, **more):
    result = run(given, facts=on, **more)
    assert not result.get("failed"), result["msg"]
    return [one["kind"] for one in result["leftovers"]]


def said(given, on):
    result = run(given, facts=on)
    assert result.get("failed"), result
    return {error["variable"]: f"{error['problem']} {error['remedy']}" for error in result["errors"]}


def test_the_engine_keeps_what_its_gpus_need_until_it_goes():
    on = after(NIM, "nim", facts(H100))
    of_nim = plan(NIM, facts=on)["engine"]
    assert of_nim["daemon"]["settings"]["features"] == {"cdi": True}
    assert plan(CLOUD, facts=on)["engine"] == of_nim
    for gone in ({"nemoclaw_prune": True}, {"nemoclaw_nim": {"state": "absent"}}):
        assert plan({**CLOUD, **gone}, facts=on)["engine"] == plan({**CLOUD, **gone}, facts=facts(H100))["engine"]
        assert "cdi" not in plan({**CLOUD, **gone}, facts=on)["engine"]
    assert plan({**CLOUD, "nemoclaw_prune": True}, facts={**on, "gateways": ["nemoclaw", "other"]})["engine"] == of_nim


def test_what_the_provider_before_needed_is_named_with_its_remedy():
    on = after(NIM, "nim", facts(H100))
    result = run(CLOUD, facts=on, leftovers_named=True)
    server, proxy = result["warnings"]
    assert server == (
        "spark1: nemoclaw-nim of an earlier run runs on port 8000, and nothing asks for it any more. "
        "Set nemoclaw_nim: {state: absent} or nemoclaw_prune: true to remove it; to keep it, set nemoclaw_nim: {state: present}."
    )
    assert "nemoclaw-proxy.service of an earlier run runs on port 11435" in proxy
    found, without = result["plan"], plan(CLOUD, facts=facts(H100))
    assert {key for key in found if found[key] != without[key]} == {"digest", "engine"}, "and the plan is none the worse"
    assert "warnings" not in run(CLOUD, facts=on), "a role that is used alone knows of its own part only"
    assert "warnings" not in run(NIM, facts=on, leftovers_named=True)
    assert "warnings" not in run({**CLOUD, "nemoclaw_prune": True}, facts=on, leftovers_named=True)


def test_what_somebody_names_or_uses_is_none():
    on = after(NIM, "nim", facts(H100))
    assert kinds({**CLOUD, "nemoclaw_nim": {"state": "absent"}, "nemoclaw_proxy": {"state": "absent"}}, on) == []
    declared = {**CLOUD, "nemoclaw_nim": {"state": "present"}, "nemoclaw_credentials": {**LEAST["nemoclaw_credentials"], **NIM["nemoclaw_credentials"]}}
    assert kinds(declared, on) == []
    assert kinds(LEAST, on) == ["proxy"], "its URL is the endpoint"
    through = {**LEAST["nemoclaw_inference"], "endpoint_url": "http://127.0.0.1:11435/v1"}
    assert kinds({**LEAST, "nemoclaw_inference": through}, on) == [], "or the proxy's, which stands before it"
    backend = {"backends": [{"name": "mine", "port": 11435, "url": "http://127.0.0.1:8000"}]}
    assert kinds({**CLOUD, "nemoclaw_proxy": backend}, on) == []


def test_on_a_host_of_several_gateways_a_server_may_be_anothers():
    on = {**after(NIM, "nim", facts(H100)), "gateways": ["nemoclaw", "second"]}
    assert kinds(CLOUD, on) == ["proxy"]
    assert plan({**CLOUD, "nemoclaw_prune": True}, facts=on)["leftovers"]["serving"] == {}


@pytest.mark.parametrize("ours", [True, False])
def test_an_ollama_is_one_where_it_is_ours(ours):
    on = {**facts(H100), "servers": {"ollama": {**OLLAMA, "ours": ours}}}
    assert kinds(CLOUD, on) == (["ollama"] if ours else [])


# --- beside what is asked for ------------------------------------------------------------------------------------------------------------------


def test_its_port():
    on = after(NIM, "nim", facts(H100))
    assert said(VLLM, on) == {
        "nemoclaw_vllm.port": "the port 8000 is held by nemoclaw-nim of an earlier run, which nothing asks for any more. "
        "Set nemoclaw_nim: {state: absent}, which removes it first, or choose another port."
    }
    assert kinds({**VLLM, "nemoclaw_vllm": {"port": 8001, "gpu_memory_utilization": 0.7}}, on) == ["nim", "proxy"]
    assert kinds(VLLM, after(NIM, "nim", facts(H100), state="exited")) == ["nim", "proxy"]
    assert kinds({**VLLM, "nemoclaw_nim": {"state": "absent"}}, on) == ["proxy"]


SERVES = {"port": 8000, "key_needed": False, "models": [{"id": "org/model", "max_model_len": 32768}]}


def held(*, port=8000, address="127.0.0.1", openai=(SERVES,), **more):
    """Facts of a host on which somebody else listens on a port."""
    holder = {"address": address, "user": "ann", "pid": 77, "process": "python3", "unit": ""}
    return facts(H100, servers={"held": [{"port": port, "listeners": [holder]}], "openai": list(openai)}, **more)


@pytest.mark.parametrize(("given", "kind"), [(VLLM, "vllm"), (NIM, "nim")])
def test_a_port_of_somebody_else(given, kind):
    """Found before tens of GB are fetched."""
    assert said(given, held()) == {
        f"nemoclaw_{kind}.port": "the port 8000 is held by python3 (pid 77, user ann), which serves org/model; it is left alone. Stop it ('kill 77') or set "
        f"nemoclaw_{kind}.port to a free port; or use it as it is: nemoclaw_inference.provider vllm with the endpoint_url http://127.0.0.1:8000/v1."
    }
    assert said(given, held(openai=[]))[f"nemoclaw_{kind}.port"].endswith(f"or set nemoclaw_{kind}.port to a free port.")
    assert kinds({**given, f"nemoclaw_{kind}": {"port": 8001}}, held()) == []
    assert kinds(given, held(address="10.0.0.7")) == [], "which leaves it free on the loopback"
    assert kinds({**CLOUD, f"nemoclaw_{kind}": {"state": "absent"}}, held()) == []


def test_a_port_that_is_held_by_what_was_made_here():
    on = {**after(VLLM, "vllm", facts(H100)), "servers": held()["servers"]}
    assert kinds(VLLM, on) == []
    assert kinds({**NIM, "nemoclaw_vllm": {"state": "absent"}}, on) == []
    assert "nemoclaw_vllm.port" in said(VLLM, {**after(VLLM, "vllm", facts(H100), state="exited"), "servers": held()["servers"]})
    silent = {**held(), "docker": {**held()["docker"], "running": False}}
    assert not run(VLLM, facts=silent).get("failed"), "nobody says whose containers hold it"


@pytest.mark.parametrize(("given", "kind"), [(VLLM, "vllm"), (NIM, "nim")])
def test_a_container_of_others_that_has_the_name(given, kind):
    on = facts(H100)
    on["docker"]["strangers"] = ["nemoclaw-nim", "nemoclaw-nim-nemoclaw", "nemoclaw-vllm"]
    name = f"nemoclaw-{kind}"
    remedy = f"Remove it ('docker rm --force {name}'), and run again."
    assert said(given, on) == {f"nemoclaw_{kind}": f"the host has a container {name} that this collection has not made. {remedy}"}
    assert kinds({**CLOUD, f"nemoclaw_{kind}": {"state": "absent"}}, on) == []


def test_the_probe_looks_where_servers_are_to_listen():
    given = {**VLLM, "nemoclaw_vllm": {"port": 8123}, "nemoclaw_nim": {"state": "present", "port": 8124}, "nemoclaw_credentials": {"NGC_API_KEY": "nvapi-x"}}
    assert run(given, facts=None)["servers"]["openai_ports"] == [8000, 8123, 8124]
    assert run(CLOUD, facts=None)["servers"]["openai_ports"] == [8000]


def test_its_memory():
    on = after(NIM, "nim", facts(H100))
    assert said({**VLLM, "nemoclaw_vllm": {"port": 8001, "gpu_memory_utilization": 0.9}}, on) == {
        "nemoclaw_vllm": "GPU memory of nvidia.com/gpu=0 (NVIDIA H100 80GB HBM3): nemoclaw-nim of an earlier run, which nothing asks for any more, 16.0 GiB + "
        "vllm (nvidia/NVIDIA-Nemotron-3-Nano-4B-FP8) 71.7 GiB = 87.7 GiB, and there are 79.6 GiB; 8.0 GiB too much. "
        "Set nemoclaw_nim: {state: absent}, which removes it first, or choose a smaller model."
    }


@pytest.mark.parametrize("of", [{}, {"platform": "spark", "arch": "aarch64"}])
def test_that_of_a_vllm_is_what_it_has_reserved(of):
    on = facts(SPARK if of else LINUX, **of)
    was = after({**VLLM, "nemoclaw_vllm": {"gpu_memory_utilization": 0.85}}, "vllm", on)
    larger = {"nemoclaw_inference": {"provider": "nim", "model": "nvidia/nemotron-3-super-120b-a12b"}, "nemoclaw_nim": {"port": 8001}}
    problem = said({**NIM, **larger}, was)["nemoclaw_nim"]
    assert f"nemoclaw-vllm of an earlier run, which nothing asks for any more, {0.85 * on['gpu']['gpus'][0]['memory_mb'] / 1024:.1f} GiB" in problem
    assert "nemoclaw_vllm: {state: absent}" in problem


def test_that_of_an_ollama_is_what_is_loaded():
    was = facts(H100, servers={"ollama": {**OLLAMA, "loaded": [{"name": "m", "memory_mb": 40960, "gpu_mb": 40960, "context_length": 32768}]}})
    assert "ollama.service of an earlier run, which nothing asks for any more, 40.0 GiB + vllm" in said(VLLM, was)["nemoclaw_vllm"]
    assert kinds(VLLM, {**was, "servers": {"ollama": OLLAMA}}) == ["ollama"]


# --- removed ---------------------------------------------------------------------------------------------------------------------------------------


def test_what_is_to_go_goes_first_where_that_was_said():
    made = plan({**VLLM, "nemoclaw_nim": {"state": "absent"}}, facts=after(NIM, "nim", facts(H100)))
    assert list(made["serving"]) == ["nim", "vllm"]


def test_pruned_is_all_that_nothing_asks_for_and_the_plan_is_the_same_afterwards():
    given = {**CLOUD, "nemoclaw_prune": True}
    made = plan(given, facts=after(NIM, "nim", facts(H100)))["leftovers"]
    assert {kind: {entry.get("state") for entry in planned["resources"]} for kind, planned in made["serving"].items()} == {
        kind: {"absent"} for kind in ("ollama", "vllm", "nim")
    }
    assert {entry["resource"] for entry in made["proxy"]["resources"]} == {"unit", "proxy"}
    assert made == plan(given, facts=facts(H100))["leftovers"]
    assert plan({**NIM, "nemoclaw_prune": True}, facts=facts(H100))["leftovers"].keys() == {"serving", "proxy"}
    assert plan({**NIM, "nemoclaw_prune": True}, facts=facts(H100))["leftovers"]["proxy"] == {}
    assert plan(CLOUD, facts=facts(H100))["leftovers"] == {}


def test_what_is_pruned_comes_last():
    made = plan({**CLOUD, "nemoclaw_prune": True}, facts=after(NIM, "nim", facts(H100)))
    found = list(components(made, OpenShell("nemoclaw", "nemoclaw"), {}))
    assert found[-5:] == ["sandbox/assistant", "leftover/ollama", "leftover/vllm", "leftover/nim", "leftover/proxy"]
    assert Drift({"leftover/nim": [Change("nim/nemoclaw-nim", "state", "present", "absent")], "leftover/vllm": []}, [], []).pending["leftovers"] == ["nim"]


def test_nobody_elses_login_goes_with_it():
    made = plan({**CLOUD, "nemoclaw_prune": True}, facts=facts(H100))["leftovers"]["serving"]["nim"]["resources"]
    asked = plan({**CLOUD, "nemoclaw_nim": {"state": "absent"}}, facts=facts(H100))["serving"]["nim"]["resources"]
    for resources in (made, asked):
        (logins,) = (one for one in serving_of({"resources": resources}, {}) if one.kind in ("login", "logins"))
        assert (type(logins), logins.desired["keep"]) == (Logins, [])


def test_offboarding_takes_logins_away_while_their_records_are_there():
    """They are in the gateway's state. That gateway's own record, which is there still, is not that of another one."""
    (play,) = yaml.safe_load((ROOT / "playbooks/offboard.yml").read_text())
    roles = [task["ansible.builtin.include_role"]["name"] for task in play["tasks"] if "ansible.builtin.include_role" in task]
    assert roles.index("nemoclaw.fleet.local_inference") < roles.index("nemoclaw.fleet.gateway")
    others, _service = yaml.safe_load((ROOT / "roles/local_inference/tasks/remove_ollama.yml").read_text())
    assert others["ansible.builtin.find"]["excludes"] == "nemoclaw-{{ local_inference_wanted.gateway.name }}.json"


# --- what the probe sees -----------------------------------------------------------------------------------------------------------------------


def test_a_proxy_of_its_configuration(tmp_path):
    config = next(entry for entry in plan(NIM, facts=facts(H100))["proxy"]["resources"] if entry["resource"] == "proxy")["config"]
    assert proxy_of("nemoclaw", config) == {"gateway": "nemoclaw", "ports": [11435], "backends": [8000]}
    assert Host(str(tmp_path)).glob("/etc/*/proxy/conf/nginx.conf") == []
