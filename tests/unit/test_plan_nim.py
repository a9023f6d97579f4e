# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planned for a NIM: which model a host's GPUs can hold, where it comes from, and where the key goes."""

from __future__ import annotations

import json

import pytest

from tests.unit.test_plan import FACTS, plan, run

L40S, T4, GB10 = ("NVIDIA L40S", 46068, False), ("Tesla T4", 15360, False), ("NVIDIA GB10", 124610, True)
KEY = {"NGC_API_KEY": "nvapi-canary"}
GIVEN = {"nemoclaw_inference": {"provider": "nim"}, "nemoclaw_credentials": KEY, "nemoclaw_sandboxes": [{"name": "assistant"}]}
SMALL, LARGE = "meta/llama-3.1-8b-instruct", "nvidia/llama-3.1-nemotron-70b-instruct"


def on(*gpus):
    """Facts of a host with these GPUs."""
    found = [{"index": index, "name": name, "memory_mb": memory, "unified": unified, "mig": ""} for index, (name, memory, unified) in enumerate(gpus)]
    engine = {"docker": {**FACTS["docker"], "version": "26.1.5"}, "cdi": {**FACTS["cdi"], "ctk": "/usr/bin/nvidia-ctk"}}
    return {**FACTS, **engine, "gpu": {"status": "ok", "detail": "", "remedy": "", "platform": "linux", "gpus": found}}


def made(facts, nim=None, **more):
    """The resources of the planned server, by their class."""
    return {entry["resource"]: entry for entry in plan({**GIVEN, "nemoclaw_nim": nim or {}, **more}, facts=facts)["serving"]["nim"]["resources"]}


@pytest.mark.parametrize(
    ("gpus", "model", "devices"),
    [
        ([T4], "nvidia/nemotron-3-nano", ["nvidia.com/gpu=0"]),
        ([L40S], "nvidia/nemotron-3-super-120b-a12b", ["nvidia.com/gpu=0"]),
        ([GB10], "nvidia/nemotron-3-super-120b-a12b", ["nvidia.com/gpu=0"]),
        ([T4, L40S, L40S], "nvidia/nemotron-3-super-120b-a12b", ["nvidia.com/gpu=1", "nvidia.com/gpu=2"]),
        ([T4, T4, L40S], "nvidia/nemotron-3-super-120b-a12b", ["nvidia.com/gpu=2"]),
    ],
)
def test_the_first_that_fits_on_the_largest_gpus_of_one_kind(gpus, model, devices):
    server = made(on(*gpus))["nim"]
    assert (server["model"], server["devices"]) == (model, devices)


def test_gpus_of_several_kinds_are_no_sum():
    """60 GB in two GPUs of different kinds are not 60 GB; what would hold the model and what fits is said."""
    refused = run({**GIVEN, "nemoclaw_nim": {"model": LARGE}}, facts=on(L40S, T4))
    assert (
        f"nemoclaw_nim.model: {LARGE} takes 81920 MiB of GPU memory, and it would have NVIDIA L40S with 46068 MiB of this host "
        "(NVIDIA L40S with 46068 MiB; Tesla T4 with 15360 MiB). Models that fit: nvidia/nemotron-3-super-120b-a12b, nvidia/nemotron-3-nano-30b-a3b, "
        f"nvidia/llama-3.3-nemotron-super-49b-v1, {SMALL}."
    ) in refused["msg"]
    assert made(on(L40S, T4, L40S), {"model": LARGE})["nim"]["devices"] == ["nvidia.com/gpu=0", "nvidia.com/gpu=2"]


def test_parts_of_a_gpu_serve_each_for_itself():
    """No program can use more than one of them."""
    facts = on(T4, ("NVIDIA A100-SXM4-80GB", 81920, False))
    parts = [{"index": index, "gpu_instance": index, "compute_instance": 0, "memory_mb": 19968} for index in range(4)]
    facts["gpu"]["gpus"][1].update(mig="enabled", mig_devices=parts)
    found = made(facts)["nim"]
    assert (found["model"], found["devices"]) == ("nvidia/nemotron-3-nano", ["nvidia.com/gpu=1:0"])
    refused = run({**GIVEN, "nemoclaw_nim": {"model": LARGE}}, facts=facts)["msg"]
    assert "it would have part nvidia.com/gpu=1:0 of NVIDIA A100-SXM4-80GB with 19968 MiB of this host" in refused
    assert f"Models that fit: nvidia/nemotron-3-nano-30b-a3b, {SMALL}." in refused


@pytest.mark.parametrize(("gpus", "devices"), [(1, [1]), ([0], [0]), (["nvidia.com/gpu=2"], [2]), (True, [1, 2])])
def test_gpus_that_were_asked_for(gpus, devices):
    assert made(on(T4, L40S, L40S), {"model": "nvidia/nemotron-3-nano", "gpus": gpus})["nim"]["devices"] == [f"nvidia.com/gpu={index}" for index in devices]


def test_more_gpus_than_serve_together():
    refused = run({**GIVEN, "nemoclaw_nim": {"gpus": 3}}, facts=on(T4, L40S, L40S))
    assert "nemoclaw_nim.gpus: 3 is more or other than what serves together here: 2 × NVIDIA L40S with 46068 MiB each" in refused["msg"]


def test_an_image_that_is_not_there_needs_room():
    facts = {**on(L40S), "disks": {**FACTS["disks"], "/var/lib/docker": {**FACTS["disks"]["/var/lib/docker"], "free_gb": 15}}}
    image = "nvcr.io/nim/nvidia/nemotron-3-super-120b-a12b"
    refused = run(GIVEN, facts=facts)["msg"]
    assert f"nemoclaw_docker.data_root: the image {image} 20.0 GB are to come onto /var/lib/docker, which has 15 GB free; 5.0 GB are missing." in refused
    facts["docker"]["images"] = [f"{image}:latest"]
    assert made(facts)["nim"]["image"] == f"{image}:latest"


@pytest.mark.parametrize("word", ["Meta/Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct", "nvcr.io/nim/meta/llama-3.1-8b-instruct"])
def test_names_of_a_model(word):
    assert made(on(L40S), {"model": word})["nim"]["model"] == SMALL
    assert made(on(L40S), None, nemoclaw_inference={"provider": "nim", "model": word})["nim"]["model"] == SMALL


def test_what_is_no_model():
    refused = run({**GIVEN, "nemoclaw_nim": {"model": "mistral"}}, facts=on(L40S))
    assert "nemoclaw_nim.model: 'mistral' is no model of the catalogue. Use one of nvidia/nemotron-3-super-120b-a12b" in refused["msg"]
    refused = run({**GIVEN, "nemoclaw_nim": {"model": "meta/llama-3.1-8b-instruc"}}, facts=on(L40S))
    assert f"Did you mean {SMALL}?" in refused["msg"]


@pytest.mark.parametrize(
    ("nim", "word", "same"),
    [
        ({"model": SMALL}, LARGE, False),
        ({"model": SMALL}, "Llama-3.1-8B-Instruct", True),
        ({"model": "nvidia/nemotron-3-nano-30b-a3b"}, "nvidia/nemotron-3-nano", True),
        ({"model": SMALL, "served_model": "own/id"}, "own/id", True),
        ({"model": "my/model", "image": "registry.example/nim:1"}, "my/model", True),
        ({"model": "my/model", "image": "registry.example/nim:1"}, SMALL, False),
    ],
)
def test_two_variables_name_one_model(nim, word, same):
    """Else one of them would be passed over without a word."""
    refused = run({**GIVEN, "nemoclaw_inference": {"provider": "nim", "model": word}, "nemoclaw_nim": nim}, facts=on(L40S)).get("msg", "")
    problem = f"nemoclaw_inference.model: {word!r} is not {nim['model']!r}, which nemoclaw_nim.model says. Set one of the two only."
    assert (problem in refused) == (not same)
    assert bool(refused) == (not same)


def test_no_gpu():
    assert "nemoclaw_nim: the GPUs of this host cannot be used" in run(GIVEN, facts=FACTS)["msg"]


def test_gpus_that_have_failed_since_are_no_reason_to_keep_it():
    """Which model it was is not known then, and does not matter."""
    made = run(GIVEN, facts=FACTS, host_checked=False)["plan"]["serving"]["nim"]["resources"]
    assert [(entry["resource"], entry["state"]) for entry in made] == [(kind, "absent") for kind in ("unit", "nim", "credential", "logins")]


def test_the_key_is_needed_before_anything_else():
    refused = run({**GIVEN, "nemoclaw_credentials": {}}, facts=None)
    assert "nemoclaw_credentials.NGC_API_KEY: is missing or empty. Set it from a vault: a key of NGC, nvapi-…" in refused["msg"]
    assert made(on(L40S), None, nemoclaw_credentials={"NVIDIA_API_KEY": "nvapi-canary"})["credential"]["credential"] == "NVIDIA_API_KEY"


def test_the_route_has_the_id_that_is_served():
    """Through the proxy, because a NIM asks for no key."""
    planned = plan({**GIVEN, "nemoclaw_nim": {"model": "nvidia/nemotron-3-nano-30b-a3b"}}, facts=on(L40S))
    assert planned["inference"]["route"]["model"] == "nvidia/nemotron-3-nano"
    assert planned["inference"]["key_file"].endswith("/proxy/token")
    planned = plan({**GIVEN, "nemoclaw_nim": {"model": SMALL, "served_model": "own/id"}}, facts=on(L40S))
    assert planned["inference"]["route"]["model"] == "own/id"


@pytest.mark.parametrize(
    ("seen", "nim", "model"),
    [
        ({}, {}, "own/id"),
        ({"image": "nvcr.io/nim/other:1"}, {}, SMALL),
        ({"asked": LARGE}, {}, SMALL),
        ({"served": "own/id; rm"}, {}, SMALL),
        ({}, {"served_model": SMALL}, SMALL),
        ({}, {"image": "registry.example/nim:1"}, SMALL),
    ],
)
def test_an_id_that_the_image_insists_on(seen, nim, model):
    """It is that of one image that was told one id: another model, another image and the user's own word have none of it."""
    record = {"image": "nvcr.io/nim/meta/llama-3.1-8b-instruct:latest", "asked": SMALL, "served": "own/id", **seen}
    facts = {**on(L40S), "servers": {"nim": {"nemoclaw-nim": record}}}
    planned = plan({**GIVEN, "nemoclaw_nim": {"model": SMALL, **nim}}, facts=facts)
    assert planned["inference"]["route"]["model"] == planned["inference"]["endpoint"]["model"] == model
    config = json.loads(next(file["content"] for file in planned["sandboxes"][0]["create"]["files"] if file["path"].endswith("openclaw.json")))
    assert [one["id"] for provider in config["models"]["providers"].values() for one in provider["models"]] == [model]
    (server,) = (entry for entry in planned["serving"]["nim"]["resources"] if entry["resource"] == "nim")
    assert (server["model"], server["adopt"]) == (SMALL, "served_model" not in nim)


def test_who_pulls():
    """The NGC API key goes to nvcr.io alone; a mirror has users of its own, or none."""
    mirrors = {"nemoclaw_image_mirrors": {"nvcr.io": "mirror.example:5000/nvcr"}}
    found = made(on(L40S), {"model": SMALL, "login": {"store": "config"}})
    assert {key: found["login"][key] for key in ("registry", "username", "credential", "store")} == {
        "registry": "nvcr.io",
        "username": "$oauthtoken",
        "credential": "NGC_API_KEY",
        "store": "config",
    }
    assert found["image"]["auth"] == {"username": "$oauthtoken", "credential": "NGC_API_KEY"}
    assert found["logins"] == {"resource": "logins", "user": "nemoclaw", "keep": ["nvcr.io"], "state": "absent"}
    found = made(on(L40S), {"model": SMALL}, **mirrors)
    assert found["logins"]["keep"] == []
    assert not {"login", "auth"} & {*found, *found["image"]}
    assert (found["image"]["name"], found["nim"]["image"]) == ("nvcr.io/nim/meta/llama-3.1-8b-instruct:latest",) * 2
    own = {"username": "fleet", "credential": "MIRROR"}
    given = {**GIVEN, "nemoclaw_nim": {"model": SMALL, "registry": own}, **mirrors, "nemoclaw_credentials": {**KEY, "MIRROR": "secret"}}
    resources = plan(given, facts=on(L40S))["serving"]["nim"]["resources"]
    order = [entry["resource"] for entry in resources]
    assert order.index("login") < order.index("image") < order.index("nim") < order.index("logins")
    found = {entry["resource"]: entry for entry in resources}
    assert (found["login"]["registry"], found["login"]["credential"], found["logins"]["keep"]) == ("mirror.example:5000", "MIRROR", ["mirror.example:5000"])


@pytest.mark.parametrize(
    ("image", "mirrors", "there"),
    [
        ("org/nim:1", {}, True),
        ("docker.io/org/nim:1", {}, True),
        ("nvcr.io/nim:1", {"nvcr.io": "docker.io/org"}, True),
        ("org/nim:1", {"org": "mirror.example/org"}, False),
        ("registry.example/org/nim:1", {}, False),
    ],
)
def test_no_login_at_docker_hub(image, mirrors, there):
    own = {"model": "my/model", "image": image, "registry": {"username": "fleet", "credential": "OWN"}}
    given = {**GIVEN, "nemoclaw_nim": own, "nemoclaw_image_mirrors": mirrors, "nemoclaw_credentials": {**KEY, "OWN": "secret"}}
    assert ("nemoclaw_nim.registry: the image is on Docker Hub" in run(given, facts=on(L40S)).get("msg", "")) == there
    del own["registry"]
    assert not run(given, facts=on(L40S)).get("failed")


def test_an_image_of_ones_own():
    exact = "registry.example/nim@sha256:" + "0" * 64
    found = made(on(T4), {"image": exact, "model": "my/model"}, nemoclaw_image_mirrors={"registry.example": "m.example/r"})
    assert found["image"]["name"] == found["nim"]["image"] == exact.replace("registry.example", "m.example/r")
    assert found["nim"]["model"] == "my/model"
    assert "nemoclaw_nim.model: is missing" in run({**GIVEN, "nemoclaw_nim": {"image": exact}}, facts=on(T4))["msg"]


@pytest.mark.parametrize(("name", "said"), [("NIM_SERVED_MODEL_NAME", "set nemoclaw_nim.served_model"), ("HF_TOKEN", "looks like a secret")])
def test_environment_that_is_not_the_users(name, said):
    refused = run({**GIVEN, "nemoclaw_nim": {"env": {name: "x"}}}, facts=on(L40S))
    assert f"nemoclaw_nim.env.{name}: " in refused["msg"]
    assert said in refused["msg"]


def test_two_servers_on_one_port():
    refused = run({**GIVEN, "nemoclaw_vllm": {"state": "present"}}, facts=None)
    assert "nemoclaw_nim.port: the port 8000 is used by nemoclaw_vllm.port too." in refused["msg"]
    assert not run({**GIVEN, "nemoclaw_vllm": {"state": "present"}, "nemoclaw_nim": {"port": 8001}}, facts=None).get("failed")


def test_absent():
    """Nothing of it is left, the proxy before it included."""
    planned = plan({"nemoclaw_nim": {"state": "absent"}}, facts=on(L40S))
    resources = planned["serving"]["nim"]["resources"]
    assert [entry["resource"] for entry in resources if entry["state"] == "absent"] == ["unit", "nim", "credential", "logins"]
    assert resources[-1]["keep"] == []
    assert not planned["proxy"]
