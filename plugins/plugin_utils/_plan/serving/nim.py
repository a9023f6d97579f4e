# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NIM in a container that is ours: the catalogue's models, by what the GPUs of a host can hold. Pure functions."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.reference import mirrored, registry_of, split
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import served
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import host, images
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving import disks, gpus
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving.server import LATER, Server, absence, secret_problem, unit_of
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import SECRETS, Problem, nearest

NAME = "nemoclaw_nim"
PROVIDER = "nim"
KEYS = ("NGC_API_KEY", "NVIDIA_API_KEY")
FILE = "/etc/nemoclaw/nim/ngc-api-key"
HUB = ("", "docker.io", "index.docker.io")  # its API has another name than its images, and so has a login in Docker's configuration
OURS = {"NIM_SERVED_MODEL_NAME": f"set {NAME}.served_model", "NIM_CACHE_PATH": f"set {NAME}.cache_dir", "NIM_SERVER_PORT": f"set {NAME}.port"}


class Room(t.NamedTuple):
    """GPUs of one kind that serve together: one model is spread over equal ones."""

    label: str
    devices: tuple[gpus.Device, ...]

    @property
    def memory_mb(self) -> int:
        return sum(device.memory_mb for device in self.devices)

    def __str__(self) -> str:
        count, each = len(self.devices), self.devices[0].memory_mb
        return f"{count} × {self.label} with {each} MiB each, {self.memory_mb} MiB together" if count > 1 else f"{self.label} with {each} MiB"


def catalogue(blueprint: Blueprint) -> dict[str, t.Any]:
    return blueprint.yaml("inference/nim.yaml")


def _chosen(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    return variables.get(NAME) or {}


def _absent(variables: dict[str, t.Any]) -> bool:
    return _chosen(variables).get("state") == "absent"


def model_of(word: str, data: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """The model that a word means, in any case: its name or served id, with or without its maker, or the image's own name."""
    known: dict[str, dict[str, t.Any]] = {}
    for model in data["models"]:
        for name in (model["name"], model.get("served", model["name"]), split(model["image"])[0]):
            known.setdefault(name.lower(), model)
            known.setdefault(name.lower().rpartition("/")[2], model)
    return known.get(word.lower())


def _asked(variables: dict[str, t.Any]) -> tuple[str, str]:
    """C((variable, model)) as the user gave it; empty for the first that fits."""
    if model := _chosen(variables).get("model"):
        return f"{NAME}.model", model
    inference = variables["nemoclaw_inference"]
    return "nemoclaw_inference.model", inference.get("model", "") if inference.get("provider") == PROVIDER else ""


def _key(variables: dict[str, t.Any]) -> str:
    """The name of the credential that holds the NGC API key; empty where there is none."""
    return next((name for name in KEYS if variables.get(SECRETS, {}).get(name)), "")


# --- what a host has room for -----------------------------------------------------------------------------------------------------------------


def rooms(found: t.Sequence[gpus.Device]) -> list[Room]:
    """The GPUs by their kind, the largest room first; memory that GPUs share with the host counts once, and parts of a GPU serve each for itself."""
    labels: dict[str, list[gpus.Device]] = {}
    for device in found:
        label = f"part {device.name} of {device.label}" if device.part else device.label
        if not (device.unified and label in labels):
            labels.setdefault(label, []).append(device)
    return sorted((Room(label, tuple(devices)) for label, devices in labels.items()), key=lambda room: -room.memory_mb)


def room(variables: dict[str, t.Any], facts: dict[str, t.Any]) -> Room | None:
    """The GPUs that the server gets: those named, else as many of the largest kind as are to be, all if nothing is said."""
    found, given = gpus.devices(facts), _chosen(variables).get("gpus", True)
    if isinstance(given, list):
        names = gpus.named(given)
        named = tuple(device for device in found if device.name in names)
        return Room(" and ".join(dict.fromkeys(device.label for device in named)), named) if len(named) == len(names) else None
    largest = next(iter(rooms(found)), None)
    if largest is None or given is True:
        return largest
    return Room(largest.label, largest.devices[:given]) if given <= len(largest.devices) else None


def fitting(data: dict[str, t.Any], there: Room | None) -> list[dict[str, t.Any]]:
    """The models of the catalogue that the GPUs can hold; all where nobody knows how much they hold."""
    return [model for model in data["models"] if there and (not there.memory_mb or model["gpu_memory_mb"] <= there.memory_mb)]


def _model(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """What is to be served; None where that is not known (yet)."""
    chosen, asked = _chosen(variables), _asked(variables)[1]
    model = model_of(asked, data) if asked else next(iter(fitting(data, room(variables, facts))), None)
    if chosen.get("image") and asked:
        model = {"gpu_memory_mb": 0, **(model or {"name": asked}), "image": chosen["image"]}
    if model and chosen.get("served_model"):
        model = {**model, "served": chosen["served_model"]}
    return model


# --- mistakes ---------------------------------------------------------------------------------------------------------------------------------


def problems(variables: dict[str, t.Any], blueprint: Blueprint) -> t.Iterator[Problem]:
    """What is wrong with C(nemoclaw_nim), whatever the host."""
    data, chosen = catalogue(blueprint), _chosen(variables)
    if _absent(variables):
        yield from absence(NAME, variables, PROVIDER)
        return
    variable, asked = _asked(variables)
    names = [model["name"] for model in data["models"]]
    if asked and not chosen.get("image") and not model_of(asked, data):
        close = nearest(asked, names)
        remedy = close if close.startswith("Did") else f"Use one of {', '.join(names)}, or give the image of yours as {NAME}.image."
        yield Problem(variable, f"{asked!r} is no model of the catalogue.", remedy)
    yield from _two_models(variables, data)
    if chosen.get("image") and not asked:
        yield Problem(f"{NAME}.model", "is missing; an image of your own needs it.", "Set it to the id that the image serves.")
    if not _key(variables):
        yield Problem(f"{SECRETS}.NGC_API_KEY", "is missing or empty.", "Set it from a vault: a key of NGC, nvapi-…, whose account may use this NIM.")
    credential = chosen.get("registry", {}).get("credential")
    if credential and not variables.get(SECRETS, {}).get(credential):
        yield Problem(f"{SECRETS}.{credential}", "is missing or empty.", f"Set it from a vault; {NAME}.registry names it.")
    if "registry" in chosen and _registry(variables, chosen.get("image") or data["models"][0]["image"]) in HUB:
        remedy = f"Leave it out for an image that anybody may pull; else name a registry in {NAME}.image, or a mirror in {images.NAME}."
        yield Problem(f"{NAME}.registry", "the image is on Docker Hub, where no login is made.", remedy)
    for name, value in sorted(chosen.get("env", {}).items()):
        if name in OURS:
            yield Problem(f"{NAME}.env.{name}", "is set by the plan.", f"Leave it out: {OURS[name]}.")
        else:
            yield from secret_problem(NAME, name, value, "NGC_API_KEY")


def _two_models(variables: dict[str, t.Any], data: dict[str, t.Any]) -> t.Iterator[Problem]:
    """Both variables name a model, and not the same one."""
    chosen, inference = _chosen(variables), variables["nemoclaw_inference"]
    asked, word = chosen.get("model", ""), inference.get("model", "") if inference.get("provider") == PROVIDER else ""
    known = model_of(asked, data)
    if asked and word and word not in (asked, chosen.get("served_model")) and not (known and model_of(word, data) is known):
        yield Problem("nemoclaw_inference.model", f"{word!r} is not {asked!r}, which {NAME}.model says.", "Set one of the two only.")


def host_problems(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """What the GPUs of this host cannot hold, with what they are."""
    if _absent(variables):
        return
    if unusable := list(gpus.unusable(NAME, facts)):
        yield from unusable
        return
    data = catalogue(blueprint)
    found, there = gpus.devices(facts), room(variables, facts)
    shown = "; ".join(map(str, rooms(found)))
    if there is None:
        names = ", ".join(device.name for device in found)
        yield Problem(f"{NAME}.gpus", f"{_chosen(variables).get('gpus')} is more or other than what serves together here: {shown}.", f"Its devices: {names}.")
        return
    model, fits = _model(variables, data, facts), fitting(data, there)
    names = ", ".join(one["name"] for one in fits)
    if model is None:
        least = min(one["gpu_memory_mb"] for one in data["models"])
        yield Problem(NAME, f"no model of the catalogue fits this host: {shown}, and the smallest takes {least} MiB.", "Serve from another host.")
    elif there.memory_mb and model["gpu_memory_mb"] > there.memory_mb:
        others = f" of this host ({shown})" if len(rooms(found)) > 1 else ""
        problem = f"{model['name']} takes {model['gpu_memory_mb']} MiB of GPU memory, and it would have {there}{others}."
        variable = _asked(variables)[0]
        yield Problem(variable, problem, f"Models that fit: {names}." if names else "No model of the catalogue fits; serve from another host.")


def disk_claims(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[disks.Claim]:
    """What an image of the catalogue takes of the host's disks; nobody says how large what it fetches then is."""
    data = catalogue(blueprint)
    model = None if _absent(variables) or _chosen(variables).get("image") else _model(variables, data, facts)
    if model:
        yield from disks.image(images.named(model["image"], variables), 0, data["image_gb"], variables, facts)


# --- the server -------------------------------------------------------------------------------------------------------------------------------


def server(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> Server:
    data = catalogue(blueprint)
    url = f"http://127.0.0.1:{_chosen(variables).get('port', data['port'])}"
    if _absent(variables):
        return Server(url, LATER, _removal(variables, data))
    model = _model(variables, data, facts)
    if model is None:  # a plan for such a host is refused, unless all is to be taken back there
        return Server(url, LATER, _removal(variables, data) if facts else [], proxied=True)
    resources = [*_resources(variables, data, facts, model), unit_of(data["container"], blueprint)] if facts else []
    return Server(url, _served(variables, data, facts, model), resources, proxied=True, memory_mb=model["gpu_memory_mb"])


def _asked_for(model: dict[str, t.Any]) -> str:
    """The id that NIM is told to serve the model as."""
    return model.get("served", model["name"])


def _adopts(variables: dict[str, t.Any]) -> bool:
    """Whether an id that the image insists on is taken: not where the user has named it."""
    return "served_model" not in _chosen(variables)


def _served(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any], model: dict[str, t.Any]) -> str:
    """The id to ask for: the one that this host has seen the image serve, else the one that it is told."""
    if not _adopts(variables):
        return _asked_for(model)
    records = (facts.get("servers") or {}).get("nim") or {}
    return served.served(records, data["container"], images.named(model["image"], variables), _asked_for(model))


def _removal(variables: dict[str, t.Any], data: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """Image and cache stay: what was fetched may be wanted again."""
    return [
        {"resource": "unit", "name": f"{data['container']}.service", "state": "absent"},
        {"resource": "nim", "name": data["container"], "state": "absent"},
        {"resource": "credential", "path": FILE, "state": "absent"},
        _no_logins_but([], variables),
    ]


def _registry(variables: dict[str, t.Any], image: str) -> str:
    return registry_of(mirrored(image, variables.get(images.NAME, {})))


def _login(variables: dict[str, t.Any], data: dict[str, t.Any], image: str) -> dict[str, t.Any] | None:
    """Who pulls. The NGC API key goes to its own registry only; another one has users of its own, or none."""
    chosen = _chosen(variables)
    registry = _registry(variables, image)
    own = chosen.get("registry", {})
    if not own and registry != data["registry"]:
        return None
    return {
        "registry": registry,
        "username": own.get("username", data["username"]),
        "credential": own.get("credential", _key(variables)),
        "store": chosen.get("login", {}).get("store", "none"),
        "user": variables["nemoclaw_user"],
    }


def _resources(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any], model: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    chosen, user = _chosen(variables), variables["nemoclaw_user"]
    cache, there = chosen.get("cache_dir", f"{host.home_of(user, facts)}/.cache/nim"), room(variables, facts)
    image = images.named(model["image"], variables)
    login = _login(variables, data, image)
    pull = {
        **images.mirrors(variables),
        **({"auth": {key: login[key] for key in ("username", "credential")}} if login else {}),
        "stall_timeout": chosen.get("stall_timeout", data["stall_timeout"]),
    }
    return [
        *([{"resource": "login", **login}] if login else []),
        {"resource": "image", "name": image, "source": "pull", "platform": "host", **pull},
        {"resource": "file", "path": cache, "owner": user, "group": user, "mode": "0700"},
        {"resource": "credential", "path": FILE, "credential": _key(variables), "owner": user, "group": user, "mode": "0600"},
        {
            "resource": "nim",
            "name": data["container"],
            "image": image,
            "model": _asked_for(model),
            "adopt": _adopts(variables),
            "key_file": FILE,
            # as NIM wants it, for the files in its cache; and it alone can read the key
            "user": user,
            "cache_dir": cache,
            "port": chosen.get("port", data["port"]),
            "devices": [device.name for device in there.devices] if there else [],
            "env": {key: str(value) for key, value in chosen.get("env", {}).items()},
            "shm_mb": data["shm_mb"],
            "load_timeout": chosen.get("load_timeout", data["load_timeout"]),
            "remedy": f"See 'docker logs {data['container']}' on the host, and change {NAME} (env, gpus, load_timeout).",
        },
        # last: until the image has come from elsewhere, the login before is what it can be pulled with
        _no_logins_but([login["registry"]] if login else [], variables),
    ]


def _no_logins_but(registries: list[str], variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """What earlier runs have kept for other registries goes; what others have kept for them is not looked at."""
    return {"resource": "logins", "user": variables["nemoclaw_user"], "keep": registries, "state": "absent"}
