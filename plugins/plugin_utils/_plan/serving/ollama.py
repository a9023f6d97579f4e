# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama: its program, its service on the loopback, and its models. Pure functions."""

from __future__ import annotations

import os
import posixpath
import re
import typing as t
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.ports import stop, who
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import version as number
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.model import canonical
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.program import contents
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving import disks, gpus
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving.server import LATER, Server, absence, shown_problem
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem, url_problem

NAME = "nemoclaw_ollama"
ONLY = {"url": ("url",), "archive": ("archive",), "checksum": ("url", "archive"), "version": ("url", "archive")}
SETTINGS = {"OLLAMA_HOST": "port", "OLLAMA_MODELS": "models_dir", "OLLAMA_CONTEXT_LENGTH": "context_length"}  # what the plan has to know of
PLACE = re.compile(r"\{(version|arch)\}")
PART = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
MODEL = re.compile(f"([A-Za-z0-9_][A-Za-z0-9_.:-]*/)?({PART}/)?{PART}(:{PART})?")


class Memory(t.NamedTuple):
    """What models of a host can take: C(gpu) is whether it is GPUs', C(text) how that comes about."""

    mb: int
    text: str
    gpu: bool


def _data(blueprint: Blueprint) -> dict[str, t.Any]:
    return {**blueprint.yaml("inference/ollama.yaml"), "host_mb": blueprint.data["gpu_memory"]["host_mb"]}


def _chosen(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"source": "present", **variables.get(NAME, {})}


def _found(facts: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the probe says of Ollama on the host."""
    return (facts.get("servers") or {}).get("ollama") or {}


def _models(chosen: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The user's models, each as a mapping."""
    return [{"name": one} if isinstance(one, str) else one for one in chosen.get("models", [])]


def port(variables: dict[str, t.Any], blueprint: Blueprint) -> int:
    return _chosen(variables).get("port", _data(blueprint)["port"])


def memory(facts: dict[str, t.Any], host_mb: int) -> Memory:
    """The memory that models may take: that of all GPUs together; where they share the host's, what that does not need itself; without GPUs the host's."""
    devices = [device for device in gpus.devices(facts) if device.memory_mb]
    unified = next((device for device in devices if device.unified), None)
    if unified:
        left = max(unified.memory_mb - host_mb, 0)
        return Memory(left, f"{unified.label} shares {unified.memory_mb} MiB with the host, which leaves it {left} MiB", True)
    if devices:
        total = sum(device.memory_mb for device in devices)
        parts = " + ".join(f"{device.memory_mb}" for device in devices)
        return Memory(total, f"the GPUs have {parts}{f' = {total}' if len(devices) > 1 else ''} MiB", True)
    return Memory(facts.get("memory_mb", 0), f"there is no usable GPU, and the host has {facts.get('memory_mb', 0)} MiB", False)


def fitting(data: dict[str, t.Any], facts: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The known models that this host can serve, the largest first."""
    there = memory(facts, data["host_mb"])
    small = not there.gpu or (facts.get("gpu") or {}).get("platform") == "jetson"
    known = [one for one in data["models"] if not (small and one.get("compute_intensive"))]
    return sorted((one for one in known if one["memory_mb"] <= there.mb), key=lambda one: -one["memory_mb"])


def _needs(name: str, data: dict[str, t.Any], chosen: dict[str, t.Any], facts: dict[str, t.Any]) -> int:
    """The memory that a model takes, in MiB: as the user or the blueprint says, at least the size of one that is there; 0 where nobody knows."""
    said = {canonical(one["name"]): one["memory_mb"] for one in [*data["models"], *_models(chosen)] if one.get("memory_mb")}
    there = {one["name"]: one["size_mb"] for one in _found(facts).get("models", [])}
    return said.get(canonical(name), 0) or there.get(canonical(name), 0)


def _model(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any]) -> str:
    """The agents' model: as the user says, else by the memory of the host; empty where no agent has one here."""
    inference = variables["nemoclaw_inference"]
    if inference.get("provider") != "ollama":
        return ""
    return inference.get("model") or next((one["name"] for one in fitting(data, facts)), LATER)


# --- mistakes ---------------------------------------------------------------------------------------------------------------------------------


def problems(variables: dict[str, t.Any], blueprint: Blueprint) -> t.Iterator[Problem]:
    """What is wrong with C(nemoclaw_ollama), whatever the host."""
    chosen, inference = _chosen(variables), variables["nemoclaw_inference"]
    source = chosen["source"]
    if chosen.get("state") == "absent":
        yield from absence(NAME, variables, "ollama")
    for key in sorted(set(ONLY) & set(chosen)):
        if source not in ONLY[key]:
            yield Problem(f"{NAME}.{key}", f"is not used by the source {source}.", f"Leave it out, or set source to {' or '.join(ONLY[key])}.")
    if source == "archive" and not chosen.get("archive"):
        yield Problem(f"{NAME}.archive", "is missing; the source archive needs it.", "Set it to the release's file on the controller.")
    if source == "url" and not chosen.get("url") and not chosen.get("version"):
        yield Problem(f"{NAME}.version", "is missing; the source url needs it, or a url.", f"Set it, such as {_data(blueprint)['tested']}.")
    if "url" in chosen and (wrong := url_problem(PLACE.sub("x", chosen["url"]))):
        yield Problem(f"{NAME}.url", *wrong)
    if list_of := _list(chosen):
        yield from _list_problems(chosen, list_of)
    for name, value in sorted(chosen.get("environment", {}).items()):
        if name in SETTINGS:
            yield Problem(f"{NAME}.environment.{name}", "is set by the plan.", f"Leave it out: set {NAME}.{SETTINGS[name]}.")
        elif "\n" in f"{name}{value}":
            yield Problem(f"{NAME}.environment.{name}", "has several lines.", "Give a text of one line.")
        else:
            remedy, shown = "Give it to the service by an EnvironmentFile of your own.", "everybody on the host can read a unit's settings"
            yield from shown_problem(f"{NAME}.environment.{name}", name, value, shown, remedy)
    names = [canonical(one["name"]) for one in _models(chosen) if "name" in one]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(f"{NAME}.models", f"{name!r} is there twice.", "Name each model once.")
    wanted = [(f"{NAME}.models", name) for name in names]
    window, length = inference.get("context_window", 0), chosen.get("context_length")
    if inference.get("provider") == "ollama" and length and window > length:
        problem = f"{window} tokens are more than the {length} of {NAME}.context_length, which models are loaded for."
        yield Problem("nemoclaw_inference.context_window", problem, "Set one of the two only, or a smaller window.")
    if inference.get("provider") == "ollama" and inference.get("model"):
        wanted.append(("nemoclaw_inference.model", inference["model"]))
        gone = [canonical(one["name"]) for one in _models(chosen) if one.get("state") == "absent"]
        if canonical(inference["model"]) in gone:
            yield Problem(f"{NAME}.models", f"{inference['model']!r} is to be absent, and is the agents' model.", "Choose another model for one of them.")
    for variable, name in wanted:
        if not MODEL.fullmatch(name):
            yield Problem(variable, f"{name!r} is no name of a model of Ollama.", "Give it as NAME:TAG or REGISTRY/NAMESPACE/NAME:TAG.")


def _list_problems(chosen: dict[str, t.Any], url: str) -> t.Iterator[Problem]:
    """What is wrong with a list of checksums. Nobody else vouches for it, so it comes by https, or from the mirror that the archive comes from."""
    if chosen["source"] == "archive":
        yield Problem(f"{NAME}.checksum", "is a URL, and the file is on the controller.", "Give its SHA-256, as `sha256sum FILE` prints it.")
    elif wrong := url_problem(PLACE.sub("x", url)):
        yield Problem(f"{NAME}.checksum", *wrong)
    elif not url.startswith("https:") and urllib.parse.urlsplit(url)[:2] != urllib.parse.urlsplit(chosen.get("url", ""))[:2]:
        yield Problem(f"{NAME}.checksum", f"{url!r} is neither https nor of the server of {NAME}.url.", "Give it by https.")


def host_problems(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """What is in the way on this host: no program or one too old, a stranger on the port, a model that does not fit."""
    data, chosen, found = _data(blueprint), _chosen(variables), _found(facts)
    if chosen.get("state") == "absent":
        return
    yield from _program_problems(data, chosen, found, facts.get("arch", ""))
    unit, wanted = found.get("unit") or {}, port(variables, blueprint)
    for one in found.get("listeners", []):
        # by its unit too: one that has been started again while the host was probed has another process
        if found.get("port") == wanted and one["pid"] != unit.get("pid") and one["unit"] != unit.get("name"):
            # vllm, because that one is put behind the proxy, whatever it is; of custom ones sandboxes reach none that is on the loopback alone
            use = f"or use it as it is: nemoclaw_inference.provider vllm with the endpoint_url http://127.0.0.1:{wanted}/v1."
            where = f"{who(one)} on {one['address']}"
            yield Problem(
                f"{NAME}.port", f"{wanted} is held by {where}, which is not {unit.get('name', 'a service')}; it is left alone.", f"{stop(one, wanted)} {use}"
            )
            break
    yield from _model_problems(variables, data, facts)


def _program_problems(data: dict[str, t.Any], chosen: dict[str, t.Any], found: dict[str, t.Any], arch: str) -> t.Iterator[Problem]:
    there = found.get("running") or found.get("version", "")
    if chosen["source"] == "present":
        if not found.get("path"):
            yield Problem(f"{NAME}.source", "is present, and Ollama is not on this host.", "Install it there, or set source to archive or url.")
        elif there and number(there) < number(data["minimum"]):
            yield Problem(NAME, f"Ollama {there} on this host is older than {data['minimum']}.", f"Update it there, or set {NAME}.source to archive or url.")
        return
    if found.get("path") and posixpath.dirname(found["path"]) != f"{data['prefix']}/bin":
        yield Problem(f"{NAME}.source", f"{found['path']} is on this host already, from elsewhere.", "Remove it there, or set source to present.")
    if not _list(chosen) and not _checksum(data, chosen, arch):
        remedy = "Give the SHA-256 that was published with it, or the URL of the release's sha256sum.txt."
        yield Problem(f"{NAME}.checksum", "is missing; the blueprint pins none of this release.", remedy)


def _model_problems(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    there, chosen = memory(facts, data["host_mb"]), _chosen(variables)
    model = _model(variables, data, facts)
    if model == LATER:
        least = min(data["models"], key=lambda one: one["memory_mb"])
        yield Problem(
            "nemoclaw_inference.model",
            f"is missing, and the smallest known model does not fit: {least['name']} takes {least['memory_mb']} MiB, {there.text}.",
            "Name a smaller model.",
        )
    wanted = {"nemoclaw_inference.model": model} if model else {}
    wanted.update({f"{NAME}.models[{index}]": one["name"] for index, one in enumerate(_models(chosen)) if one.get("state") != "absent"})
    for variable, name in wanted.items():
        needed = _needs(name, data, chosen, facts)
        if there.mb and needed > there.mb:
            fit = ", ".join(one["name"] for one in fitting(data, facts))
            yield Problem(
                variable,
                f"{name} takes {needed} MiB, and {there.text}; {needed - there.mb} MiB are missing.",
                f"Choose a smaller model{f', such as {fit}' if fit else ''}.",
            )


def models_dir(variables: dict[str, t.Any], blueprint: Blueprint) -> str:
    """Where models are put, as the probe is asked about it."""
    return _chosen(variables).get("models_dir") or _data(blueprint)["home"]


def disk_claims(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[disks.Claim]:
    """What the models of known size that are not there yet take of the host's disks, where the unit that is there keeps them, if the user says nothing."""
    data, chosen, found = _data(blueprint), _chosen(variables), _found(facts)
    if chosen.get("state") == "absent":
        return
    unit = found.get("unit")
    where = unit.get("models_dir", "") if unit and not chosen.get("models_dir") else models_dir(variables, blueprint)
    names = {canonical(one["name"]) for one in _models(chosen) if one.get("state") != "absent"} | {canonical(_model(variables, data, facts))}
    there = {canonical(one["name"]) for one in found.get("models", [])}
    for one in data["models"]:
        if canonical(one["name"]) in names - there:
            yield from disks.weights(one["name"], one["download_gb"], where, f"{NAME}.models_dir", facts)


# --- the server -------------------------------------------------------------------------------------------------------------------------------


def server(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> Server:
    data, chosen = _data(blueprint), _chosen(variables)
    url, model = f"http://127.0.0.1:{port(variables, blueprint)}", _model(variables, data, facts)
    window = _context_length(variables, data, facts)
    resources = _resources(variables, blueprint, facts, url, model, window) if facts else []
    if chosen.get("state") == "absent":
        return Server(url, model, [{**one, "state": "absent"} for one in reversed(resources) if one["resource"] in ("ollama_program", "ollama")])
    # without an agents' model, any of the user's may be loaded
    may_run = [model] if model else [one["name"] for one in _models(chosen) if one.get("state") != "absent"]
    needed = max((_needs(name, data, chosen, facts) for name in may_run), default=0) if memory(facts, 0).gpu else 0
    return Server(url, model, resources, proxied=True, context_window=window, memory_mb=needed)


def _context_length(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any]) -> int:
    """Tokens that every model is loaded for."""
    asked = _chosen(variables).get("context_length") or variables["nemoclaw_inference"].get("context_window")
    there = ((_found(facts).get("unit") or {}).get("given") or {}).get("OLLAMA_CONTEXT_LENGTH", "")
    return asked or max(data["context_length"], int(there) if there.isdigit() else 0)


def _release(data: dict[str, t.Any], chosen: dict[str, t.Any], arch: str) -> str:
    """The URL of a release."""
    return _placed(chosen.get("url") or data["release_url"], data, chosen, arch)


def _placed(url: str, data: dict[str, t.Any], chosen: dict[str, t.Any], arch: str) -> str:
    values = {"version": chosen.get("version", ""), "arch": data["arch"].get(arch, arch)}
    return PLACE.sub(lambda found: values[found.group(1)], url)


def _list(chosen: dict[str, t.Any]) -> str:
    """The URL of a list of checksums, where the user gave one instead of a digest."""
    given = chosen.get("checksum", "")
    return given if isinstance(given, str) and ":" in given else ""


def _checksum(data: dict[str, t.Any], chosen: dict[str, t.Any], arch: str) -> str:
    """The digest of the release's archive; one for all hosts, or one for each architecture."""
    given = chosen.get("checksum", "")
    if isinstance(given, dict):
        given = given.get(arch, "")
    return given or data["checksums"].get(chosen.get("version", ""), {}).get(arch, "")


def _resources(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any], url: str, model: str, window: int) -> list[dict[str, t.Any]]:
    data, chosen, found = _data(blueprint), _chosen(variables), _found(facts)
    program = {"source": chosen["source"], "prefix": data["prefix"], "path": found.get("path", ""), "minimum": data["minimum"]}
    packages = list(data["packages"])
    if chosen["source"] != "present":
        release = _release(data, chosen, facts["arch"])
        archive = os.path.basename(chosen["archive"] if chosen["source"] == "archive" else release)
        download = {"url": release} if chosen["source"] == "url" else {}
        listed = _placed(_list(chosen), data, chosen, facts["arch"])
        by = {"sha256": "", "checksums": listed} if listed else {"sha256": _checksum(data, chosen, facts["arch"])}
        program.update(path=f"{data['prefix']}/bin/ollama", archive=archive, **by, **download)
        program.update({"version": chosen["version"]} if "version" in chosen else {})
        packages += ["zstd"] if archive.endswith(".zst") else []
    values = {"user": data["user"], "home": data["home"], "program": program["path"], "models_dir": chosen.get("models_dir", "")}
    environment = {
        "OLLAMA_CONTEXT_LENGTH": str(window),
        "OLLAMA_KEEP_ALIVE": str(chosen.get("keep_alive", data["keep_alive"])),
        **{name: str(value) for name, value in chosen.get("environment", {}).items()},
    }
    service = {
        "name": "ollama.service",
        "port": port(variables, blueprint),
        "environment": environment,
        "library": data["libraries"].get((facts.get("gpu") or {}).get("platform", ""), ""),
        "program": contents(program),
        "unit": blueprint.render("inference/ollama.service.j2", **values),
        "timeout": data["timeout"],
        **{key: values[key] for key in ("user", "home", "models_dir")},
    }
    return [
        {"resource": "packages", "name": "ollama", "packages": packages},
        {"resource": "ollama_program", **program},
        {"resource": "ollama", **service},
        *_model_resources(chosen, data, facts, url, model),
    ]


def _model_resources(chosen: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any], url: str, model: str) -> list[dict[str, t.Any]]:
    """The user's models, and the agents' among them, which is the one that has to call tools and is loaded at once."""
    wanted = {canonical(one["name"]): one for one in _models(chosen)}
    if model:
        wanted.setdefault(canonical(model), {})
    *first, last = data["load_timeouts"]
    last = chosen.get("load_timeout", last)
    loads = [*(min(one, last) for one in first), last]
    common = {"url": url, "stall_timeout": chosen.get("stall_timeout", data["stall_timeout"]), "load_timeouts": loads}
    agents = {"tools": chosen.get("require_tools", True), "warm": True, "gpu": (facts.get("gpu") or {}).get("platform") == "spark"}
    return [
        {
            "resource": "ollama_model",
            "name": name,
            "state": one.get("state", "present"),
            **({"digest": one["digest"]} if "digest" in one else {}),
            **({"source": _at(name, chosen["registry"])} if chosen.get("registry") else {}),
            **({"insecure": True} if chosen.get("insecure") else {}),
            **common,
            **(agents if model and name == canonical(model) else {}),
        }
        for name, one in wanted.items()
    ]


def _at(name: str, registry: str) -> str:
    """A model's name at another registry; one that names a registry itself keeps it."""
    parts = name.split("/")
    return name if len(parts) > 2 else "/".join([registry, *([] if len(parts) == 2 else ["library"]), name])
