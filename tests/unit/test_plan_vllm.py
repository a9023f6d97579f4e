# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A managed vLLM in the plan: what a model's name becomes, what a host is too small for, which flags are refused, and the memory of GPUs as one budget."""

from __future__ import annotations

import json

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.caches import folder_of
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.vllm import CACHE as CACHE_INSIDE
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import serving
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving import gpus, vllm, vllm_flags
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import completed
from tests.bed.paths import TESTS
from tests.unit.test_plan import DATA, FACTS, run

BLUEPRINT = Blueprint()
CATALOGUE = BLUEPRINT.yaml("inference/vllm.yaml")
FLAGS = json.loads(BLUEPRINT.text(CATALOGUE["flags"]))
DUMP = json.loads((TESTS / "kit" / "vllm" / "serve-args.json").read_text())
LINUX = {"name": "NVIDIA L40S", "memory_mb": 46068, "compute_capability": "8.9", "unified": False}
H100 = {"name": "NVIDIA H100 80GB HBM3", "memory_mb": 81559, "compute_capability": "9.0", "unified": False}
SPARK = {"name": "NVIDIA GB10", "memory_mb": 122000, "compute_capability": "12.1", "unified": True}
STATION = [
    {"name": "NVIDIA RTX PRO 6000", "memory_mb": 97000, "compute_capability": "12.0", "unified": False},
    {"name": "NVIDIA GB300", "memory_mb": 284208, "compute_capability": "10.3", "unified": False},
]


def facts(*gpus, platform="linux", arch="x86_64", driver="580.95.05", **more):
    numbered = [{"index": index, "mig": "", "mig_devices": [], "uuid": f"GPU-{index}", **gpu} for index, gpu in enumerate(gpus)]
    found = {"status": "ok", "detail": "", "remedy": "", "platform": platform, "driver_version": driver, "gpus": numbered}
    return {**FACTS, "arch": arch, "gpu": found, **more}


def variables(inference=None, **own):
    given = {"nemoclaw_inference": {"provider": "install-vllm"} if inference is None else inference, "nemoclaw_vllm": own}
    return completed({"nemoclaw_credentials": {}, **given}, BLUEPRINT.data)


def server(of, **own):
    return vllm.server(variables(**own), BLUEPRINT, of)


def entry(made, kind):
    return next(one for one in made.resources if one["resource"] == kind)


def argument(made, flag):
    command = entry(made, "vllm")["command"]
    return command[command.index(flag) + 1]


def said(of, given=None, **own):
    given = given or variables(**own)
    problems = list(vllm.problems(given, BLUEPRINT))
    return "\n".join(map(str, problems or serving.host_problems(given, BLUEPRINT, of)))


@pytest.mark.parametrize(
    ("of", "model"),
    [
        (facts(LINUX), "nvidia/NVIDIA-Nemotron-3-Nano-4B-FP8"),
        (facts(SPARK, platform="spark", arch="aarch64"), "nvidia/Qwen3.6-35B-A3B-NVFP4"),
        (facts(*STATION, platform="station", arch="aarch64"), "Qwen/Qwen3.6-27B-FP8"),
    ],
)
def test_each_kind_of_host_has_its_default(of, model):
    made = server(of)
    assert made.model == argument(made, "--served-model-name") == model
    assert "@sha256:" in entry(made, "vllm")["image"]
    assert not said(of)


@pytest.mark.parametrize("word", ["QWEN3.6-27B", "qwen/qwen3.6-27b-fp8", "Qwen/Qwen3.6-27B-FP8"])
def test_a_model_by_slug_or_id_in_any_case(word):
    made = server(facts(H100), model=word)
    assert (made.model, made.context_window) == ("Qwen/Qwen3.6-27B-FP8", 262144)
    assert argument(made, "--tool-call-parser") == "qwen3_coder"


def test_an_unknown_model_and_what_there_is():
    message = said(facts(H100), model="qwen9")
    assert "nemoclaw_vllm.model: 'qwen9' is no model of the catalogue." in message
    assert all(slug in message for slug in CATALOGUE["models"])


def test_the_model_of_the_inference_counts_too():
    given = variables({"provider": "install-vllm", "model": "qwen3.6-27b"})
    assert vllm.server(given, BLUEPRINT, facts(H100)).model == "Qwen/Qwen3.6-27B-FP8"


def test_gpus_that_have_failed_since_are_no_reason_to_keep_it():
    """Which model it was is not known then, and does not matter."""
    given = {"nemoclaw_inference": {"provider": "install-vllm"}, "nemoclaw_sandboxes": []}
    made = run(given, facts=FACTS, host_checked=False)["plan"]["serving"]["vllm"]["resources"]
    assert [(one["resource"], one["state"]) for one in made] == [(kind, "absent") for kind in ("unit", "vllm", "credential", "secret")]


def test_a_gated_model_takes_a_token():
    """Before anything is asked of the host."""
    refused = said(facts(H100, H100), model="deepseek-r1-distill-70b")
    assert refused.startswith("nemoclaw_credentials.HF_TOKEN: is missing; deepseek-ai/DeepSeek-R1-Distill-Llama-70B is gated.")
    for name in vllm.TOKENS:
        given = {**variables(model="deepseek-r1-distill-70b", gpus=2, gpu_memory_utilization=0.9), "nemoclaw_credentials": {name: "set"}}
        made = vllm.server(given, BLUEPRINT, facts(H100, H100))
        assert not said(facts(H100, H100), given)
        assert entry(made, "credential")["credential"] == name
        assert argument(made, "--tensor-parallel-size") == "2"


def test_a_token_that_was_withdrawn_goes_after_the_server_was_made_without_it():
    made = server(facts(LINUX))
    kinds = [one["resource"] for one in made.resources]
    assert entry(made, "credential") == {"resource": "credential", "path": "/etc/nemoclaw/vllm/hf-token", "state": "absent"}
    assert kinds.index("credential") > kinds.index("vllm")
    assert "token_file" not in entry(made, "vllm")


@pytest.mark.parametrize(
    ("of", "own", "problem"),
    [
        (facts(LINUX), {"model": "qwen3.6-27b", "gpu_memory_utilization": 0.6}, "take 28.8 GiB, and 0.6 of NVIDIA L40S 45.0 GiB is 27.0 GiB"),
        (
            facts({**LINUX, "memory_mb": 23000}),
            {"model": "qwen3.6-27b"},
            "needs GPU memory of 44.7 GiB, and there are NVIDIA L40S 22.5 GiB; 22.2 GiB are missing",
        ),
        (facts({**LINUX, "compute_capability": "8.0"}), {}, "needs compute capability 8.9, and nvidia.com/gpu=0 (NVIDIA L40S) has 8.0"),
        (facts(LINUX, driver="575.10"), {}, "the driver 575.10 is older than 580.65.06"),
        (facts(LINUX), {"model": "deepseek-v4-flash"}, "deepseek-v4-flash is not for the profile linux, which this host is"),
        (facts(LINUX), {"gpus": 2}, "this host has 1 GPUs, fewer than 2"),
        (facts(LINUX), {"gpus": [4]}, "nvidia.com/gpu=4: no such device. Its devices: nvidia.com/gpu=0."),
        (facts(H100, arch="aarch64"), {"model": "nemotron-3.5-lightning-30b"}, "has no image for aarch64"),
        (facts(platform="jetson"), {}, "there is none for the platform jetson"),
        ({**FACTS, "gpu": {"status": "none", "detail": "no NVIDIA GPU", "remedy": "", "gpus": [], "platform": "none"}}, {}, "cannot be used: no NVIDIA GPU"),
    ],
)
def test_what_a_host_is_too_small_or_too_old_for(of, own, problem):
    assert problem in said(of, **own)


WEIGHTS, CACHE = "Qwen/Qwen3.6-27B-FP8", "~nemoclaw/.cache/huggingface"


def room(images=(), models=None, mount="/var/lib/docker", free_gb=60, cache_gb=40, **more):
    """The facts of a host with 60 GB for images and 40 GB for weights; of one file system where C(mount) is C(/)."""
    disks = {"/var/lib/docker": {"mount": mount, "free_gb": free_gb}}
    return facts(H100, disks=disks, caches={CACHE: {"mount": "/", "free_gb": cache_gb, "models": models or {}}}, docker={"images": list(images)}, **more)


def containerd(free_gb):
    """The facts of one whose engine leaves its images to containerd, on the root file system."""
    disks = {"/var/lib/docker": {"mount": "/var/lib/docker", "free_gb": 0}, "/var/lib/containerd": {"mount": "/", "free_gb": free_gb}}
    caches = {CACHE: {"mount": "/srv", "free_gb": 100, "models": {}}}
    return {"disks": disks, "caches": caches, "image_root": "/var/lib/containerd", "docker": {"images": [], "image_store": "containerd"}}


@pytest.mark.parametrize(
    ("of", "own", "problem"),
    [
        (room(), {}, ""),
        (
            room(free_gb=30),
            {},
            "nvcr.io/nvidia/vllm 34.7 GB (8.9 compressed, 25.8 unpacked) are to come onto /var/lib/docker, which has 30 GB free; 4.7 GB are missing",
        ),
        (
            {**room(free_gb=0), **containerd(30)},
            {},
            "root in /etc/containerd/config.toml: the image nvcr.io/nvidia/vllm 34.7 GB (8.9 compressed, 25.8 unpacked) are to come onto /, which has 30 GB",
        ),
        ({**room(free_gb=0), **containerd(60)}, {}, ""),
        (room(cache_gb=30), {}, f"nemoclaw_vllm.cache_dir: the weights of {WEIGHTS} 30.9 GB are to come onto /, which has 30 GB free; 0.9 GB are missing."),
        (
            room(mount="/", free_gb=60, cache_gb=60),
            {},
            f"25.8 unpacked) + the weights of {WEIGHTS} 30.9 GB = 65.6 GB are to come onto /, which has 60 GB free; 5.6 GB",
        ),
        (
            room(models={WEIGHTS: {"": 20 * 10**9, "another": 10**10}}, cache_gb=5),
            {},
            "10.9 GB (30.9 less 20.0 that are there) are to come onto /, which has 5 GB free",
        ),
        # what is there, and what nobody knows the size of, is not counted
        (room(models={WEIGHTS: {CATALOGUE["models"]["qwen3.6-27b"]["revision"]: 30_912_345_678}}, cache_gb=0), {}, ""),
        (room(images=[CATALOGUE["profiles"]["linux"]["images"]["x86_64"]], free_gb=0), {}, ""),
        (room(free_gb=0), {"image": "registry.example.org/vllm:1"}, ""),
        (room(free_gb=0, data_root=""), {}, ""),
    ],
)
def test_disks_hold_what_is_still_to_come(of, own, problem):
    found = said(of, model="qwen3.6-27b", **own)
    assert problem in found
    assert bool(problem) == bool(found)


MAKERS = json.loads((DATA / "vllm-recipes.json").read_text())
HOSTS = {  # of the maker's recipes, as profiles and architectures
    "linux-amd64-single": [("linux", "x86_64")],
    "linux-arm64-single": [("linux", "aarch64")],
    "optimized-arm64-single": [("spark", "aarch64"), ("station", "aarch64")],
    "spark-single": [("spark", "aarch64")],
    "station-arm64-single": [("station", "aarch64")],
}
RECIPES = [(profile, arch, one) for one in MAKERS["recipes"] for profile, arch in HOSTS[one["host"]]]


def of_catalogue(profile, arch, slug):
    """A recipe in the maker's words."""
    found = vllm.recipe(variables(model=slug, profile=profile), CATALOGUE, {"arch": arch}).data
    sizes = CATALOGUE["image_sizes"][found["images"][arch]]
    return {
        "image": found["images"][arch],
        "compressed": sizes["compressed"],
        "unpacked": sizes.get("unpacked", 0),
        "gpu_memory": found.get("gpu_memory_gb", 0) * 10**9,
        "compute_capability": int(found.get("compute_capability", "0").replace(".", "")),
        "shm": found["shm_gb"] << 30,
        "environment": found.get("environment", {}),
        "timeout": found["load_timeout"],
        "ulimits": {"stackBytes": CATALOGUE["ulimits"]["stack"]},
        "flags": {name: vllm_flags.words({name: value})[1:] for name, value in found["flags"].items()},
    }


def as_meant(of_maker):
    """A recipe of the maker with what is meant to be otherwise here: without a loader that is installed first there, and a limit that matters to RDMA.

    Not compared at all: how many GPUs (C(nemoclaw_vllm.gpus)), and whose memory the server's processes share (there the host's, here the container's own).
    """
    flags = {name: value for name, value in of_maker["flags"].items() if (name, value) != ("load-format", ["fastsafetensors"])}
    limits = {name: value for name, value in of_maker["ulimits"].items() if name != "memlock"}
    sizes = {name: pytest.approx(of_maker[name] / 10**9, abs=0.1) for name in ("compressed", "unpacked")}
    return {**of_maker, **sizes, "gpu_memory": pytest.approx(of_maker["gpu_memory"], rel=1e-4), "flags": flags, "ulimits": limits}


@pytest.mark.parametrize(("profile", "arch", "of_maker"), RECIPES, ids=lambda one: one["model"] if isinstance(one, dict) else one)
def test_a_recipe_is_the_makers(profile, arch, of_maker):
    found = of_catalogue(profile, arch, of_maker["model"])
    assert found == {name: value for name, value in as_meant(of_maker).items() if name in found}


def test_the_catalogue_has_the_makers_models_on_the_makers_hosts():
    models = {
        slug: {
            "id": model["id"],
            "revision": model["revision"],
            "served": model.get("served_name", model["id"]),
            "bytes": model["size_gb"] * 10**9,
            "gated": model.get("gated", False),
        }
        for slug, model in CATALOGUE["models"].items()
    }
    assert models == {slug: {**one, "bytes": pytest.approx(one["bytes"], rel=1e-4)} for slug, one in MAKERS["models"].items()}
    served = {(profile, slug) for slug, model in CATALOGUE["models"].items() for profile in model["recipes"] if model.get("hosts", 1) == 1}
    assert served == {(profile, one["model"]) for profile, _arch, one in RECIPES}


def test_a_tokenizer_is_in_the_cache_of_the_container():
    """Of the same model and revision, whichever is pinned."""
    recipes = [(slug, profile) for slug, model in CATALOGUE["models"].items() for profile in model["recipes"]]
    data = [vllm.recipe(variables(model=slug, profile=profile), CATALOGUE, {}).data for slug, profile in recipes]
    found = [one for one in data if "tokenizer" in one["flags"]]
    assert found
    for one in found:
        assert one["flags"]["tokenizer"] == f"{folder_of(CACHE_INSIDE, one['id'])}/snapshots/{one['revision']}"
        assert one["flags"]["tokenizer-revision"] == one["revision"]


def test_every_image_of_the_catalogue_has_a_size():
    recipes = [recipe for model in CATALOGUE["models"].values() if model.get("hosts", 1) == 1 for recipe in model["recipes"].values()]
    images = {image for one in [*CATALOGUE["profiles"].values(), *recipes] for image in one.get("images", {}).values()}
    assert images == set(CATALOGUE["image_sizes"])


@pytest.mark.parametrize("given", [3, 6, 16, [0, 1, 2]])
def test_a_model_is_spread_over_equal_parts(given):
    """Its heads; and the variables alone say so."""
    count = len(given) if isinstance(given, list) else given
    assert f"cannot be spread over {count} GPUs in equal parts. Give 1, 2, 4 or 8 of them" in refused({}, gpus=given)["nemoclaw_vllm.gpus"]


@pytest.mark.parametrize(("there", "used"), [(1, 1), (2, 2), (3, 2), (7, 4), (8, 8), (10, 8)])
def test_all_gpus_are_as_many_as_can_share_a_model(there, used):
    of = facts(*[H100] * there)
    assert not said(of, gpus=True)
    assert len(entry(server(of, gpus=True), "vllm")["devices"]) == used


def test_of_unequal_gpus_each_serves_as_much_as_the_smallest():
    """The larger one has the same part of the model."""
    of = facts(LINUX, {**H100, "memory_mb": 200000})
    assert server(of, gpus=2, gpu_memory_utilization=0.5).memory_mb == LINUX["memory_mb"]
    given = {**variables(model="deepseek-r1-distill-70b", gpus=2), "nemoclaw_credentials": {"HF_TOKEN": "set"}}
    shown = "NVIDIA L40S 45.0 GiB + NVIDIA H100 80GB HBM3 195.3 GiB, 2 × the smallest = 90.0 GiB; 41.3 GiB are missing"
    assert f"needs GPU memory of 131.3 GiB, and there are {shown}" in said(of, given)


def test_parts_of_a_gpu_serve_alone():
    parts = [{"index": index, "memory_mb": 40192} for index in range(2)]
    of = facts({**H100, "mig": "enabled", "mig_devices": parts}, H100)
    assert not said(of, gpus=["0:1"])
    for together in (["0:0", "0:1"], ["0:0", 1]):
        assert "nvidia.com/gpu=0:0" in said(of, gpus=together)
        assert "of partitioned GPUs: a part serves alone" in said(of, gpus=together)


def test_agents_are_told_of_no_more_tokens_than_the_server_takes():
    def of(window, **own):
        return said(facts(H100), variables({"provider": "install-vllm", "context_window": window}, model="qwen3.6-27b", **own))

    assert not of(262144)
    assert "nemoclaw_inference.context_window: 262145 tokens are more than the 262144 of nemoclaw_vllm.max_model_len that qwen3.6-27b" in of(262145)
    assert "65536 tokens are more than the 32768 of nemoclaw_vllm.max_model_len" in of(65536, max_model_len=32768)


@pytest.mark.parametrize(
    ("name", "instead"),
    [("HF_HOME", "nemoclaw_vllm.cache_dir"), ("HF_HUB_CACHE", "nemoclaw_vllm.cache_dir"), ("HF_TOKEN_PATH", "nemoclaw_credentials.HF_TOKEN")],
)
def test_an_environment_that_would_lead_past_the_cache(name, instead):
    assert refused({}, env={name: "/srv"}) == {f"nemoclaw_vllm.env.{name}": f"is set by the plan. Leave it out: set {instead}."}


def test_a_station_serves_from_its_large_gpu():
    assert entry(server(facts(*STATION, platform="station", arch="aarch64")), "vllm")["devices"] == ["nvidia.com/gpu=1"]


def test_what_takes_several_hosts_is_refused():
    assert "takes 2 hosts" in said(facts(SPARK, platform="spark", arch="aarch64"), model="deepseek-v4-flash-0731")


def test_settings_come_before_the_blueprints():
    made = server(facts(H100), model="qwen3.6-27b", max_model_len=32768, gpu_memory_utilization=0.5, extra_args=["--seed", "7"], port=8123)
    assert (argument(made, "--max-model-len"), argument(made, "--gpu-memory-utilization"), argument(made, "--seed")) == ("32768", "0.5", "7")
    assert made.url == "http://127.0.0.1:8123"
    assert entry(made, "vllm")["publish"] == {"addresses": ["127.0.0.1", "172.30.200.1"], "port": 8123, "target": 8000}
    assert made.memory_mb == 81559 // 2


def test_no_secret_is_in_the_plan():
    assert "nemoclaw_vllm.env.MY_API_KEY: looks like a secret" in said(facts(H100), env={"MY_API_KEY": "x"})


# --- flags ------------------------------------------------------------------------------------------------------------------------------------


def test_the_flags_are_those_of_the_parser():
    """The blueprint's list against the dump that it was made from."""
    assert set(FLAGS) == {name for one in DUMP["args"] for name in one["opts"] if name.startswith("-")}
    assert FLAGS["--tool-call-parser"]["choices"] == DUMP["tool_parsers"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--max-num-seq", "4"], "--max-num-seq is no flag of vLLM. Did you mean --max-num-seqs?"),
        (["--swap-space", "4"], "--swap-space is no flag of vLLM."),
        (["--seed", "x"], "--seed 'x' is no number."),
        (["--seed"], "--seed has no value."),
        (["--dtype", "fp9"], "--dtype 'fp9' is not possible."),
        (["--tool-call-parser=hermess"], "--tool-call-parser 'hermess' is not possible. Did you mean hermes?"),
        (["--enforce-eager=yes"], "--enforce-eager takes no value."),
        (["word"], "word belongs to no flag."),
        (["--seed", "1", "2"], "2 belongs to no flag."),
        (["--api-key", "sk-1"], "--api-key is set by the plan. Leave it out: the host makes a key of its own."),
        (["--hf_token=x"], "--hf_token is set by the plan."),
    ],
)
def test_flags_that_are_refused(arguments, fault):
    assert fault in said(facts(H100), extra_args=arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "-1"],
        ["--enforce-eager", "--max_num_seqs=8"],
        ["--compilation-config.mode", "3"],
        ["--served-model-name", "a", "b"],
        ["--cudagraph-capture-sizes", "1", "2"],
    ],
)
def test_flags_that_are_right(arguments):
    assert not said(facts(H100), extra_args=arguments)


def test_another_image_knows_other_flags():
    assert not said(facts(H100), image="registry.example.org/vllm:9", extra_args=["--from-the-future", "1"])


@pytest.mark.parametrize("words", [["--served-model-name", "house"], ["--served_model_name", "house", "other"], ["--served_model_name=house"]])
def test_the_served_name_may_be_another(words):
    assert server(facts(H100), extra_args=words).model == "house"


def test_values_that_are_mappings_are_json():
    assert vllm_flags.words({"a": True, "b": {"c": [1, 2]}, "d": 0.5}) == ["--a", "--b", '{"c":[1,2]}', "--d", "0.5"]


# --- GPU memory -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [True, 1, ["nvidia.com/gpu=0"], ["nvidia.com/gpu=all"]])
def test_sandboxes_and_the_server_share_the_gpu(every):
    given = {**variables(gpu_memory_utilization=0.97), "nemoclaw_sandboxes": [{"name": "assistant", "gpu": every, "state": "present"}]}
    message = said(facts(LINUX, LINUX), given)
    arithmetic = f"vllm ({CATALOGUE['models']['nemotron-3-nano-4b']['id']}) 43.6 GiB + sandbox assistant 2.0 GiB = 45.6 GiB"
    assert f"GPU memory of nvidia.com/gpu=0 (NVIDIA L40S): {arithmetic}, and there are 45.0 GiB; 0.6 GiB too much." in message
    given["nemoclaw_vllm"] = {"gpu_memory_utilization": 0.9}
    assert not said(facts(LINUX, LINUX), given)
    given["nemoclaw_vllm"] = {"gpu_memory_utilization": 0.97, "gpus": [1]}
    given["nemoclaw_sandboxes"][0]["gpu"] = 1
    assert not said(facts(LINUX, LINUX), given)


OLLAMA = {"ollama": {"path": "/usr/bin/ollama", "version": "0.13.5", "models": []}}


def with_ollama(provider, *models, **own):
    inference = {"provider": provider, **({"model": models[0]["name"]} if provider == "ollama" else {})}
    return {**variables(inference, state="present", **own), "nemoclaw_ollama": {"state": "present", "models": list(models)}}


@pytest.mark.parametrize("provider", ["install-vllm", "ollama"])
def test_ollama_and_vllm_share_the_gpu(provider):
    """Whichever of them the agents use; of models that nobody is said to use, any may be loaded."""
    large, small = {"name": "own:70b", "memory_mb": 60000}, {"name": "own:8b", "memory_mb": 6000}
    of = facts(H100, servers=OLLAMA)
    message = said(of, with_ollama(provider, large, small, {"name": "gone", "memory_mb": 80000, "state": "absent"}))
    assert "58.6 GiB + vllm (nvidia/NVIDIA-Nemotron-3-Nano-4B-FP8) 55.8 GiB = 114.3 GiB, and there are 79.6 GiB; 34.7 GiB too much." in message
    assert not said(of, with_ollama(provider, small))
    assert not said(of, with_ollama(provider, {**large, "memory_mb": 24000}))


def beside(of, given):
    return entry(serving.planned(given, BLUEPRINT, of)["vllm"], "vllm")["side_by_side"]


@pytest.mark.parametrize(("other", "room"), [(6000, True), (16000, True), (24000, False)])
def test_a_new_one_is_tried_beside_the_old_one_where_the_gpu_has_room_for_both_and_the_rest(other, room):
    of = facts(SPARK, platform="spark", arch="aarch64", servers=OLLAMA)
    given = with_ollama("install-vllm", {"name": "own:8b", "memory_mb": other})
    assert not said(of, given)
    assert beside(of, given) == room
    assert beside(of, variables())
    assert not beside(of, variables(gpu_memory_utilization=0.5))


@pytest.mark.parametrize(
    ("own", "other", "room"),
    [
        ((500, "a"), (0, ""), True),
        ((501, "a"), (0, ""), False),
        ((1000, "ab"), (0, ""), True),
        ((1001, "ab"), (0, ""), False),
        ((400, "a"), (200, "a"), True),
        ((400, "a"), (201, "a"), False),
        ((400, "a"), (400, "ab"), True),
        ((400, "a"), (900, "b"), True),  # on another one
        ((400, "a"), (201, ""), False),  # on any
    ],
)
def test_room_for_two(own, other, room):
    devices = [gpus.Device(name, "GPU", 1000, "9.0", False) for name in "ab"]
    mine, others = (gpus.Claim(name, name, memory, tuple(names)) for name, (memory, names) in (("mine", own), ("others", other)))
    assert gpus.fits_twice(mine, [mine, others], devices, 100) == room
    assert gpus.fits_twice(mine, [mine, others], [device._replace(unified=True, memory_mb=1100) for device in devices], 100) == room
    assert gpus.fits_twice(mine, [mine, others], [device._replace(memory_mb=0) for device in devices], 100), "where nobody knows, its part says it"


def test_the_host_needs_some_of_unified_memory():
    message = said(facts(SPARK, platform="spark", arch="aarch64"), gpu_memory_utilization=0.95)
    assert "113.2 GiB + the host itself 8.0 GiB = 121.2 GiB, and there are 119.1 GiB; 2.0 GiB too much" in message


def test_the_whole_plan():
    refused = run({"nemoclaw_inference": {"provider": "install-vllm"}, "nemoclaw_vllm": {"model": "qwen9", "port": 80, "gpus": False}}, facts=facts(LINUX))
    assert {"nemoclaw_vllm.model", "nemoclaw_vllm.port", "nemoclaw_vllm.gpus"} <= {one["variable"] for one in refused["errors"]}


def refused(given, **own):
    found = run({"nemoclaw_inference": {"provider": "install-vllm", **given}, "nemoclaw_vllm": own}, facts=None)
    return {error["variable"]: f"{error['problem']} {error['remedy']}" for error in found.get("errors", [])}


def test_an_own_image_may_be_for_an_older_driver():
    """It is the remedy that the plan itself names."""
    old = facts(LINUX, driver="550.54.15")
    assert [problem.problem for problem in vllm.host_problems(variables(), BLUEPRINT, old)] == [
        "the driver 550.54.15 is older than 580.65.06, which the image needs."
    ]
    assert not list(vllm.host_problems(variables(image="own/vllm:1"), BLUEPRINT, old))


def test_two_models_for_one_server_are_refused():
    assert "which nemoclaw_vllm.model says" in refused({"model": "qwen3.6-27b"}, model="nemotron-3-nano-4b")["nemoclaw_inference.model"]
    assert not refused({"model": "Qwen/Qwen3.6-27B-FP8"}, model="qwen3.6-27b")
    assert not refused({"model": "mine"}, model="qwen3.6-27b", extra_args=["--served-model-name", "mine"])


def test_what_looks_like_a_secret_in_the_environment():
    names = ["HF_TOKEN", "API_KEY", "apikey", "AWS_SECRET_ACCESS_KEY", "S3_KEYS", "DB_PASSWORD"]
    assert [name.rpartition(".")[2] for name in refused({}, env=dict.fromkeys(names, "x"))] == sorted(names)
    assert not refused({}, env={"TOKENIZERS_PARALLELISM": "false", "VLLM_MAX_TOKENS_PER_EXPERT_FUSED_MOE": 1})


def test_the_short_name_of_a_flag_that_the_plan_sets():
    assert "set nemoclaw_vllm.gpus" in refused({}, extra_args=["-tp", "4"])["nemoclaw_vllm.extra_args"]
