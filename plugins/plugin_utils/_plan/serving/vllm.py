# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM in a container that is ours: profile and model become image, flags and mounts. Pure functions."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import version
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import host, images
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving import disks, gpus, vllm_flags
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving.server import LATER, Server, absence, secret_problem, unit_of
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import SECRETS, Problem, nearest, network

NAME = "nemoclaw_vllm"
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
FILES = "/etc/nemoclaw/vllm"
OURS = {**dict.fromkeys(("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"), f"set {NAME}.cache_dir"), "HF_TOKEN_PATH": f"set {SECRETS}.HF_TOKEN"}
COUNTS = (1, 2, 4, 8)  # of GPUs that a model is spread over: its heads must be divisible by it


class Recipe(t.NamedTuple):
    """A model on a profile: C(data) is what the blueprint says of it, the profile's and the model's own included."""

    slug: str
    profile: str
    data: dict[str, t.Any]

    @property
    def served(self) -> str:
        return self.data.get("served_name", self.data["id"])


def cache(variables: dict[str, t.Any]) -> str:
    """The directory of the weights, as the probe is asked about it."""
    return _chosen(variables).get("cache_dir", f"~{variables['nemoclaw_user']}/.cache/huggingface")


def catalogue(blueprint: Blueprint) -> dict[str, t.Any]:
    return blueprint.yaml("inference/vllm.yaml")


def slug_of(word: str, models: dict[str, t.Any]) -> str:
    """The model that a word means: its slug or its full id, in any case; empty where it means none."""
    names = {name.lower(): slug for slug, model in models.items() for name in (slug, model["id"], model.get("served_name", slug))}
    return names.get(word.lower(), "")


def _chosen(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    return variables.get(NAME) or {}


def _asked_model(variables: dict[str, t.Any]) -> tuple[str, str]:
    """C((variable, model)) as the user gave it; empty for the profile's default."""
    if model := _chosen(variables).get("model"):
        return f"{NAME}.model", model
    inference = variables["nemoclaw_inference"]
    return "nemoclaw_inference.model", inference.get("model", "") if inference.get("provider") == "install-vllm" else ""


def _profile(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any]) -> str:
    """The profile that was asked for, else the one of the host's platform; empty where there is none."""
    platform = (facts.get("gpu") or {}).get("platform", "")
    return _chosen(variables).get("profile") or next((name for name, one in data["profiles"].items() if platform in one["platforms"]), "")


def recipe(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any]) -> Recipe | None:
    """What is to be served on this host; None where that is not known (yet), or the profile has no recipe for it."""
    profile = _profile(variables, data, facts)
    if profile not in data["profiles"]:
        return None
    slug = slug_of(_asked_model(variables)[1] or data["profiles"][profile]["default"], data["models"])
    if not slug or profile not in data["models"][slug]["recipes"]:
        return None
    model = data["models"][slug]
    common = {key: data[key] for key in ("load_timeout", "stall_timeout", "driver")}
    return Recipe(slug, profile, {**common, **data["profiles"][profile], **model, **model["recipes"][profile]})


# --- mistakes ---------------------------------------------------------------------------------------------------------------------------------


def problems(variables: dict[str, t.Any], blueprint: Blueprint) -> t.Iterator[Problem]:
    """What is wrong with C(nemoclaw_vllm), whatever the host."""
    data, chosen = catalogue(blueprint), _chosen(variables)
    if chosen.get("state") == "absent":
        yield from absence(NAME, variables, "install-vllm")
        return
    profile = chosen.get("profile")
    if profile and profile not in data["profiles"]:
        yield Problem(f"{NAME}.profile", f"{profile!r} is no profile.", nearest(profile, data["profiles"]))
    yield from _model_problems(variables, data)
    # what another image knows, only that image can say: it is asked on the host
    known = None if chosen.get("image") else json.loads(blueprint.text(data["flags"]))
    for word, problem, remedy in vllm_flags.faults(chosen.get("extra_args", []), known):
        yield Problem(f"{NAME}.extra_args", f"{word} {problem}", remedy)
    for name, value in sorted(chosen.get("env", {}).items()):
        if name in OURS:
            yield Problem(f"{NAME}.env.{name}", "is set by the plan.", f"Leave it out: {OURS[name]}.")
        else:
            yield from secret_problem(NAME, name, value, "HF_TOKEN")
    given = chosen.get("gpus", 1)
    count = len(given) if isinstance(given, list) else given
    if count not in COUNTS:
        remedy = "Give 1, 2, 4 or 8 of them; with true it is the largest of these numbers that is there."
        yield Problem(f"{NAME}.gpus", f"a model cannot be spread over {count} GPUs in equal parts.", remedy)


def _model_problems(variables: dict[str, t.Any], data: dict[str, t.Any]) -> t.Iterator[Problem]:
    variable, asked = _asked_model(variables)
    slug, profile = slug_of(asked, data["models"]), _chosen(variables).get("profile", "")
    if asked and not slug:
        yield Problem(variable, f"{asked!r} is no model of the catalogue.", f"Use one of {', '.join(sorted(data['models']))}, or its Hugging Face id.")
        return
    inference = variables["nemoclaw_inference"]
    if slug and inference.get("provider") == "install-vllm" and (word := inference.get("model")):
        served = data["models"][slug].get("served_name", data["models"][slug]["id"])
        if slug_of(word, data["models"]) != slug and word != vllm_flags.served_name(_chosen(variables).get("extra_args", []), served):
            yield Problem("nemoclaw_inference.model", f"{word!r} is not {asked!r}, which {NAME}.model says.", "Set one of the two only.")
    slug = slug or data["profiles"].get(profile, {}).get("default", "")
    model = data["models"].get(slug, {})
    if profile in data["profiles"] and model and profile not in model["recipes"]:
        yield Problem(variable, f"{slug} is not for the profile {profile}.", _others(profile, data))
    if model.get("hosts", 1) > 1:
        yield Problem(variable, f"{slug} takes {model['hosts']} hosts that serve together, which is not done here.", "Choose another model.")
    if model.get("gated") and not _token(variables):
        yield Problem(f"{SECRETS}.HF_TOKEN", f"is missing; {model['id']} is gated.", "Accept its licence on Hugging Face, and set the token from a vault.")


def _token(variables: dict[str, t.Any]) -> str:
    """The name of the credential that holds the token of Hugging Face; empty where there is none."""
    return next((name for name in TOKENS if variables.get(SECRETS, {}).get(name)), "")


def _others(profile: str, data: dict[str, t.Any]) -> str:
    return f"Use one of {', '.join(sorted(slug for slug, model in data['models'].items() if profile in model['recipes']))}."


def host_problems(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """What this host is too small, too old or of the wrong kind for."""
    if _chosen(variables).get("state") == "absent":
        return
    if unusable := list(gpus.unusable(NAME, facts)):
        yield from unusable
        return
    data, gpu = catalogue(blueprint), facts["gpu"]
    profile = _profile(variables, data, facts)
    if not profile:
        yield Problem(f"{NAME}.profile", f"there is none for the platform {gpu['platform']}.", f"Set it to one of {', '.join(data['profiles'])}.")
        return
    chosen = recipe(variables, data, facts)
    if chosen is None:
        variable, asked = _asked_model(variables)
        yield Problem(variable, f"{asked} is not for the profile {profile}, which this host is.", _others(profile, data))
        return
    if not _image(variables, chosen, facts):
        yield Problem(f"{NAME}.image", f"{chosen.slug} has no image for {facts['arch']} on the profile {profile}.", "Set it to an image of your own.")
    if gpu.get("driver_version") and not _chosen(variables).get("image") and version(gpu["driver_version"]) < version(chosen.data["driver"]):
        remedy = "Update the driver, or set nemoclaw_vllm.image to an older image that runs with it."
        yield Problem(NAME, f"the driver {gpu['driver_version']} is older than {chosen.data['driver']}, which the image needs.", remedy)
    yield from _window_problems(variables, chosen)
    yield from _device_problems(variables, chosen, facts)


def _window_problems(variables: dict[str, t.Any], chosen: Recipe) -> t.Iterator[Problem]:
    inference, window = variables["nemoclaw_inference"], _window(variables, chosen)
    if inference.get("provider") == "install-vllm" and inference.get("context_window", 0) > window:
        problem = f"{inference['context_window']} tokens are more than the {window} of {NAME}.max_model_len that {chosen.slug} is served with."
        yield Problem("nemoclaw_inference.context_window", problem, f"Leave it out, or set {NAME}.max_model_len to as many.")


def _device_problems(variables: dict[str, t.Any], chosen: Recipe, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    data, found = chosen.data, gpus.devices(facts)
    names = _devices(variables, chosen, facts)
    variable, given = f"{NAME}.gpus", _chosen(variables).get("gpus")
    if isinstance(given, list) and (unknown := [name for name in names if name not in {device.name for device in found}]):
        yield Problem(variable, f"{', '.join(unknown)}: no such device.", f"Its devices: {', '.join(device.name for device in found)}.")
        return
    if not names or (isinstance(given, int) and given is not True and given > len(names)):
        fitting = f" that fit {data['gpus']}" if data.get("gpus") else ""
        yield Problem(variable, f"this host has {len(names)} GPUs{fitting}, fewer than {given or 1}.", "Ask for fewer, or serve from another host.")
        return
    used = [device for device in found if device.name in names]
    if len(used) > 1 and (parts := [device.name for device in used if device.part]):
        yield Problem(variable, f"{', '.join(parts)} of partitioned GPUs: a part serves alone.", "Name one part, or GPUs that are not partitioned.")
        return
    least = data.get("compute_capability", "0")
    for device in used:
        if device.capability and version(device.capability) < version(least):
            problem = f"{chosen.slug} needs compute capability {least}, and {device.name} ({device.label}) has {device.capability}."
            yield Problem(variable, problem, "Choose another GPU, or another model.")
    yield from _memory_problems(variables, chosen, used)


def _memory_problems(variables: dict[str, t.Any], chosen: Recipe, used: list[gpus.Device]) -> t.Iterator[Problem]:
    there = gpus.together(used)
    if not there:  # nobody knows
        return
    floor = chosen.data.get("gpu_memory_gb", 0) * 10**9 / 2**20
    shown = " + ".join(f"{device.label} {gpus.gigabytes(device.memory_mb)}" for device in used)
    if there < floor:
        problem = f"{chosen.slug} needs GPU memory of {gpus.gigabytes(floor)}, and there are {shown}{_sum(used)}; {gpus.gigabytes(floor - there)} are missing."
        yield Problem(f"{NAME}.gpus", problem, "Give it more GPUs, or choose a smaller model.")
        return
    share, weights = _share(variables, chosen), chosen.data["size_gb"] * 10**9 / 2**20
    if weights > share * there and not chosen.data.get("offloads"):
        yield Problem(
            f"{NAME}.gpu_memory_utilization",
            f"the weights of {chosen.slug} take {gpus.gigabytes(weights)}, and {share:g} of {shown}{_sum(used)} is {gpus.gigabytes(share * there)}.",
            f"Set it to at least {weights / there + 0.05:.2f}, or choose a smaller model.",
        )


def _sum(used: list[gpus.Device]) -> str:
    smallest = f", {len(used)} × the smallest" if len({device.memory_mb for device in used}) > 1 else ""
    return f"{smallest} = {gpus.gigabytes(gpus.together(used))}" if len(used) > 1 else ""


def disk_claims(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[disks.Claim]:
    """What image and weights take of the host's disks."""
    data = catalogue(blueprint)
    chosen = recipe(variables, data, facts)
    if _chosen(variables).get("state") == "absent" or chosen is None:
        return
    size = {} if _chosen(variables).get("image") else data["image_sizes"].get(chosen.data["images"].get(facts["arch"], ""), {})
    if size:
        unpacked = size.get("unpacked", round(size["compressed"] * data["unpacked"], 1))
        yield from disks.image(_image(variables, chosen, facts), size["compressed"], unpacked, variables, facts)
    model = chosen.data
    yield from disks.weights(model["id"], model["size_gb"], cache(variables), f"{NAME}.cache_dir", facts, model["revision"])


# --- the server -------------------------------------------------------------------------------------------------------------------------------


def _image(variables: dict[str, t.Any], chosen: Recipe, facts: dict[str, t.Any]) -> str:
    return images.named(_chosen(variables).get("image") or chosen.data["images"].get(facts["arch"], ""), variables)


def _devices(variables: dict[str, t.Any], chosen: Recipe, facts: dict[str, t.Any]) -> list[str]:
    """CDI devices: those that were named, else as many of the fitting ones as are to be (of all, as many as can share a model), one if nothing is said."""
    given = _chosen(variables).get("gpus", 1)
    if isinstance(given, list):
        return gpus.named(given)
    fitting = [device.name for device in gpus.devices(facts) if chosen.data.get("gpus", "") in device.label]
    return fitting[: max((count for count in COUNTS if count <= len(fitting)), default=0) if given is True else given]


def _window(variables: dict[str, t.Any], chosen: Recipe) -> int:
    """Tokens that the server takes."""
    return _chosen(variables).get("max_model_len", chosen.data["flags"]["max-model-len"])


def _share(variables: dict[str, t.Any], chosen: Recipe) -> float:
    return _chosen(variables).get("gpu_memory_utilization", chosen.data["flags"]["gpu-memory-utilization"])


def server(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> Server:
    data, chosen = catalogue(blueprint), _chosen(variables)
    port = chosen.get("port", data["port"])
    url, key_file = f"http://127.0.0.1:{port}", f"{FILES}/api-key"
    if chosen.get("state") == "absent":
        return Server(url, "", _removed(data), key_file=key_file)
    found = recipe(variables, data, facts)
    if found is None:
        model = data["models"].get(slug_of(_asked_model(variables)[1], data["models"]), {})
        # a plan for such a host is refused, unless all is to be taken back there
        return Server(url, model.get("served_name", model.get("id", LATER)), _removed(data) if facts else [], key_file=key_file)
    extra = chosen.get("extra_args", [])
    served = vllm_flags.served_name(extra, found.served)
    devices = _devices(variables, found, facts)
    memory = gpus.together([device for device in gpus.devices(facts) if device.name in devices]) * _share(variables, found)
    resources = _resources(variables, blueprint, facts, found) if facts else []
    return Server(url, served, resources, key_file=key_file, context_window=_window(variables, found), memory_mb=int(memory))


def _removed(data: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """What goes when the server does; image and weights stay, which others may use."""
    files = [{"resource": kind, "path": f"{FILES}/{name}", "state": "absent"} for kind, name in (("credential", "hf-token"), ("secret", "api-key"))]
    unit = {"resource": "unit", "name": f"{data['container']}.service", "state": "absent"}
    return [unit, {"resource": "vllm", "name": data["container"], "state": "absent"}, *files]


def _resources(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any], found: Recipe) -> list[dict[str, t.Any]]:
    data = catalogue(blueprint)
    chosen, user, token = _chosen(variables), variables["nemoclaw_user"], _token(variables)
    cache, image = chosen.get("cache_dir", f"{host.home_of(user, facts)}/.cache/huggingface"), _image(variables, found, facts)
    stall = chosen.get("stall_timeout", found.data["stall_timeout"])
    environment = {key: str(value) for key, value in chosen.get("env", {}).items()}
    token_file = {"token_file": f"{FILES}/hf-token"} if token else {}
    weights = {"name": found.data["id"], "revision": found.data["revision"], "size_gb": found.data["size_gb"], "environment": environment}
    serve = _command(variables, data, facts, found)
    server = {
        "name": data["container"],
        "image": image,
        "entrypoint": [data["executable"]],
        "command": ["serve", *serve],
        "check": ["python3", "-c", data["check"], *serve],
        "environment": {**found.data.get("environment", {}), **environment},
        "key_file": f"{FILES}/api-key",
        **token_file,
        "user": user,
        "cache_dir": cache,
        "publish": {"addresses": ["127.0.0.1", network(variables)["address"]], "port": chosen.get("port", data["port"]), "target": data["port"]},
        "devices": _devices(variables, found, facts),
        "shm_mb": found.data.get("shm_gb", 16) * 1024,
        "ulimits": data["ulimits"],
        "load_timeout": chosen.get("load_timeout", found.data["load_timeout"]),
        "side_by_side": 2 * _share(variables, found) <= data["full"],
        "remedy": f"See 'docker logs {data['container']}' on the host, and change {NAME} (extra_args, max_model_len, gpu_memory_utilization, load_timeout).",
    }
    kept = {"resource": "credential", "path": f"{FILES}/hf-token", "credential": token, "owner": user, "group": user, "mode": "0600"}
    # a token that was withdrawn goes last: until the server was made without it, its container needs the file
    withdrawn = {"resource": "credential", "path": f"{FILES}/hf-token", "state": "absent"}
    return [
        {"resource": "secret", "path": server["key_file"], "bytes": 32, "owner": "root", "group": "root", "mode": "0600"},
        *([kept] if token else []),
        {"resource": "image", "name": image, "source": "pull", "stall_timeout": stall, **images.mirrors(variables)},
        {"resource": "weights", **weights, **token_file, "cache_dir": cache, "user": user, "image": image, "stall_timeout": stall},
        {"resource": "vllm", **server},
        unit_of(data["container"], blueprint),
        *([] if token else [withdrawn]),
    ]


def _command(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any], found: Recipe) -> list[str]:
    """The arguments of C(vllm serve)."""
    chosen, devices = _chosen(variables), _devices(variables, found, facts)
    ours = {"host": "0.0.0.0", "port": data["port"], "revision": found.data["revision"], "served-model-name": found.served}
    if len(devices) > 1:
        ours["tensor-parallel-size"] = len(devices)
    settings = {"max-model-len": chosen.get("max_model_len"), "gpu-memory-utilization": chosen.get("gpu_memory_utilization")}
    given = {name: value for name, value in settings.items() if value is not None}
    return [found.data["id"], *vllm_flags.words({**ours, **found.data["flags"], **given}), *chosen.get("extra_args", [])]
