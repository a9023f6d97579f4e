# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a plan below OpenShell: the Docker engine, its configuration, the NVIDIA Container Toolkit, and the GPUs of sandboxes. Pure functions."""

from __future__ import annotations

import re
import typing as t
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import cdi
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving import leftovers
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem, present

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.build import Inputs

# model servers with GPUs, by their variable, and the provider that needs each
GPU_SERVERS = {"nemoclaw_vllm": "install-vllm", "nemoclaw_nim": "nim"}
SOURCE, DOCKER, TOOLKIT = "nemoclaw_docker_source", "nemoclaw_docker", "nemoclaw_toolkit"
# nemoclaw_docker's names and daemon.json's
SETTINGS = {
    "data_root": "data-root",
    "registry_mirrors": "registry-mirrors",
    "insecure_registries": "insecure-registries",
    "dns": "dns",
    "log_driver": "log-driver",
    "log_options": "log-opts",
}


def repaired(variables: dict[str, t.Any]) -> list[str]:
    """The repairs of a host (names of C(nemoclaw_preflight_repair)) that this part of the plan makes."""
    return [*(["docker"] if variables[SOURCE] != "present" else []), *(["cdi"] if _asks_for_gpus(variables) else [])]


def _asks_for_gpus(variables: dict[str, t.Any]) -> bool:
    return bool(variables.get(TOOLKIT)) or "cdi" in variables["nemoclaw_preflight_repair"] or uses_gpus(variables)


def uses_gpus(variables: dict[str, t.Any]) -> bool:
    """Whether a container of the plan has GPUs: a sandbox, or a model server."""
    provider = variables["nemoclaw_inference"].get("provider")
    served = any(needs == provider or variables.get(name, {}).get("state") == "present" for name, needs in GPU_SERVERS.items())
    return served or any(sandbox.get("gpu") for sandbox in present(variables))


def desired(inputs: Inputs) -> dict[str, t.Any]:
    """The C(engine) of a plan. Where nothing was asked for, the engine stays as it is, but for what an earlier plan put into its configuration."""
    variables, data = inputs.variables, inputs.blueprint.data
    chosen, toolkit = variables.get(DOCKER, {}), variables.get(TOOLKIT, {})
    found: dict[str, t.Any] = {}
    repositories = []
    if packages := _packages(inputs):
        found["packages"] = {"name": "engine", "packages": packages}
        if chosen.get("replace"):
            found["replaced"] = {"name": "in the engine's way", "packages": data["engine"]["conflicts"][variables[SOURCE]], "state": "absent"}
        repositories += _repository("docker", chosen.get("repository", {}), _suite(inputs))
    if wants_toolkit(inputs):
        if toolkit.get("repository") or toolkit.get("packages_dir"):
            found["toolkit"] = {"name": "toolkit", "packages": data["toolkit"]["packages"]}
            repositories += _repository("nvidia-container-toolkit", toolkit.get("repository", {}), "/")
        found["cdi"] = {"name": cdi.KIND, "path": data["toolkit"]["spec"]}
    if repositories:
        found["repositories"] = repositories
    settings = _settings(inputs)
    asked = bool(settings) or "cdi" in found or variables[SOURCE] != "present"
    found["daemon"] = {
        "name": "docker",
        "state": "present" if asked else "absent",
        "settings": settings,
        "defaults": data["engine"]["defaults"] if asked else {},
        "allow_data_root_change": chosen.get("allow_data_root_change", False),
    }
    return found


def _engines(inputs: Inputs) -> list[str]:
    """The installed packages that are an engine."""
    return [name for name in (inputs.facts.get("docker") or {}).get("packages", []) if name in inputs.blueprint.data["engine"]["engines"]]


def _named(inputs: Inputs) -> list[str]:
    """The packages of the chosen source on this distribution; none where it is not known."""
    packages, distribution = inputs.blueprint.data["engine"]["packages"][inputs.variables[SOURCE]], inputs.facts["distribution"]
    of_version = packages.get(distribution["id"], {})
    return of_version.get(distribution["version"], of_version.get("default", []))


def _packages(inputs: Inputs) -> list[str]:
    """The packages that are to be there. An engine of another origin is left as it is, unless it is to be replaced."""
    if inputs.variables[SOURCE] == "present":
        return []
    packages, there = _named(inputs), _engines(inputs)
    other = bool(there) and not set(there) & set(packages)
    no_package = not there and bool((inputs.facts.get("docker") or {}).get("running"))
    replace = inputs.variables.get(DOCKER, {}).get("replace", False)
    return [] if (other and not replace) or no_package else packages


def _suite(inputs: Inputs) -> str:
    distribution = inputs.facts["distribution"]
    return inputs.blueprint.data["engine"]["suites"].get(distribution["id"], {}).get(distribution["version"], "")


def _repository(name: str, given: dict[str, t.Any], suite: str) -> list[dict[str, t.Any]]:
    """The files of an apt repository: its key, as text or from a URL, and its source."""
    if not given:
        return []
    root = {"owner": "root", "group": "root", "mode": "0644"}
    suite = given.get("suite", suite)
    key = f"/etc/apt/keyrings/nemoclaw-{name}.asc"
    lines = ["Types: deb", f"URIs: {given['url']}", f"Suites: {suite}"]
    if not suite.endswith("/"):  # else one flat directory
        lines.append(f"Components: {' '.join(given.get('components', ['stable']))}")
    # from a URL it is what the host gets there; a text is compared
    content = {"url": given["key"]} if given["key"].startswith(("http://", "https://")) else {"content": given["key"].rstrip("\n") + "\n"}
    return [
        {"path": key, **root, **content},
        {"path": f"/etc/apt/sources.list.d/nemoclaw-{name}.sources", **root, "content": "\n".join([*lines, f"Signed-By: {key}"]) + "\n"},
    ]


def _settings(inputs: Inputs) -> dict[str, t.Any]:
    """daemon.json's keys; those of C(nemoclaw_docker.settings) count most."""
    chosen = inputs.variables.get(DOCKER, {})
    found = {name: chosen[key] for key, name in SETTINGS.items() if chosen.get(key)}
    if chosen.get("proxies"):
        found["proxies"] = {key.replace("_", "-"): value for key, value in chosen["proxies"].items()}
    if chosen.get("cdi", wants_toolkit(inputs)):
        found["features"] = {"cdi": True}
    if wants_toolkit(inputs) and inputs.facts["gpu"]["platform"] == "jetson":
        # what `nvidia-ctk runtime configure` writes
        found["runtimes"] = {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}
    extra = chosen.get("settings", {})
    return {**found, **{key: {**found.get(key, {}), **value} if isinstance(value, dict) else value for key, value in extra.items()}}


# --- GPUs -------------------------------------------------------------------------------------------------------------------------------


def of_gpus(inputs: Inputs) -> list[tuple[str, t.Any]]:
    """C((variable, gpu)) of every sandbox that wants GPUs."""
    wanted = [(f"nemoclaw_sandboxes[{index}].gpu", sandbox) for index, sandbox in enumerate(inputs.variables["nemoclaw_sandboxes"])]
    return [(variable, sandbox["gpu"]) for variable, sandbox in wanted if sandbox.get("gpu") and sandbox in present(inputs.variables)]


def wants_toolkit(inputs: Inputs) -> bool:
    """Whether this run answers for toolkit and CDI devices: where it was asked to, or a container needs them; not on a host without a GPU."""
    return (_asks_for_gpus(inputs.variables) or _has_gpus_still(inputs)) and _gpu(inputs)["status"] == "ok"


def _has_gpus_still(inputs: Inputs) -> bool:
    """Whether a model server of an earlier run stays: without its devices it would not be back when the engine is restarted."""
    variables, facts = inputs.variables, inputs.facts
    pruned = variables.get(leftovers.PRUNE) and not leftovers.shared(variables, facts)
    there = [one["kind"] for one in (facts.get("docker") or {}).get("servers") or [] if one["devices"]]
    return not pruned and any(variables.get(f"nemoclaw_{kind}", {}).get("state") != "absent" for kind in there)


def devices(inputs: Inputs, gpu: bool | int | list[str]) -> list[str]:
    """The CDI devices that a sandbox's C(gpu) means: C(true) all of them by their common name, a number the first ones, a list itself."""
    if isinstance(gpu, list):
        return gpu
    if gpu is True:
        return [f"{cdi.KIND}=all"]
    return [f"{cdi.KIND}={name}" for name in cdi.names(_gpu(inputs)["gpus"])[: int(gpu)]]


def _gpu(inputs: Inputs) -> dict[str, t.Any]:
    return inputs.facts.get("gpu") or {"status": "none", "detail": "", "remedy": "", "gpus": [], "platform": "none"}


def _known_devices(inputs: Inputs) -> list[str]:
    """Names that a sandbox may ask for: those of the specifications that are there, and those that one made by this run has."""
    specs = (inputs.facts.get("cdi") or {}).get("specs", [])
    own = [f"{cdi.KIND}={name}" for name in [*cdi.names(_gpu(inputs)["gpus"]), "all"]] if _gpu(inputs)["status"] == "ok" else []
    return [*own, *(name for spec in specs for name in (f"{spec['kind']}={device}" for device in spec["devices"]) if name not in own)]


# --- what this host cannot give ---------------------------------------------------------------------------------------------------------


def problems(inputs: Inputs) -> list[Problem]:
    """What the variables ask for that this host, or the other variables, cannot give."""
    return [*_source_problems(inputs), *_setting_problems(inputs), *_toolkit_problems(inputs), *_gpu_problems(inputs)]


def _source_problems(inputs: Inputs) -> t.Iterator[Problem]:
    source, data, chosen = inputs.variables[SOURCE], inputs.blueprint.data["engine"], inputs.variables.get(DOCKER, {})
    if source == "present":
        return
    name = inputs.facts["distribution"]["name"] or "this distribution"
    if not _named(inputs):
        if not (inputs.facts.get("docker") or {}).get("running"):
            yield Problem(SOURCE, f"the packages of {source!r} are not known on {name}.", "Install an engine there yourself and set it to present.")
        return
    there, packages = (inputs.facts.get("docker") or {}).get("packages", []), _packages(inputs)
    in_the_way = [one for one in there if one in data["conflicts"][source]]
    if packages and in_the_way and not chosen.get("replace"):
        yield Problem(
            SOURCE,
            f"{', '.join(in_the_way)} on this host would be removed by {' '.join(packages)}.",
            f"Remove it yourself, set {DOCKER}.replace: true to have that done, or choose another source.",
        )
    if source == "docker" and packages and not set(_engines(inputs)) & set(packages) and not chosen.get("packages_dir"):
        yield from _repository_problems(f"{DOCKER}.repository", chosen.get("repository", {}), _suite(inputs), f"{DOCKER}.packages_dir")


def _repository_problems(variable: str, given: dict[str, t.Any], suite: str, instead: str) -> t.Iterator[Problem]:
    about = {"url": "the URL of the apt repository", "key": "its key, as text or as a URL", "suite": "the suite, such as bookworm"}
    for key, what in about.items():
        if not given.get(key) and not (key == "suite" and suite):
            yield Problem(f"{variable}.{key}", "is missing.", f"Set it to {what}, or set {instead} to a directory with the packages.")


def _setting_problems(inputs: Inputs) -> t.Iterator[Problem]:
    chosen, docker = inputs.variables.get(DOCKER, {}), inputs.facts.get("docker") or {}
    for index, mirror in enumerate(chosen.get("registry_mirrors", [])):
        if not re.fullmatch(r"https?://[^/?#\s@]+(:\d+)?/?", mirror):
            yield Problem(f"{DOCKER}.registry_mirrors[{index}]", f"{mirror!r} is no URL of a mirror.", "Give it as https://mirror.example.org, without a path.")
    for key in ("http_proxy", "https_proxy"):
        if urllib.parse.urlsplit(chosen.get("proxies", {}).get(key, "")).password:
            yield Problem(f"{DOCKER}.proxies.{key}", "it holds a password, which would be readable on the host.", "Use a proxy that takes none.")
    if chosen.get("proxies") and docker.get("running") and _older(docker["version"], inputs.blueprint.data["engine"]["proxies_minimum"]):
        least = inputs.blueprint.data["engine"]["proxies_minimum"]
        remedy = f"Update the engine to {least} or later, or set the proxy in a drop-in of docker.service yourself."
        yield Problem(f"{DOCKER}.proxies", f"Docker {docker['version']} takes no proxies from its daemon.json.", remedy)


def _toolkit_problems(inputs: Inputs) -> t.Iterator[Problem]:
    given, gpu = inputs.variables.get(TOOLKIT, {}), _gpu(inputs)
    if given.get("state") == "present" and gpu["status"] != "ok":
        yield Problem(f"{TOOLKIT}.state", f"the GPUs of this host cannot be used: {gpu['detail'] or 'none found'}.", gpu["remedy"] or "Set it to auto.")
    if not wants_toolkit(inputs) or given.get("packages_dir"):
        return
    if given.get("repository"):
        yield from _repository_problems(f"{TOOLKIT}.repository", given["repository"], "/", f"{TOOLKIT}.packages_dir")
    elif not (inputs.facts.get("cdi") or {}).get("ctk"):
        remedy = f"Set {TOOLKIT}.repository or {TOOLKIT}.packages_dir, or install nvidia-container-toolkit there."
        yield Problem(TOOLKIT, "nvidia-ctk, which GPUs in containers need, is not on this host.", remedy)


def _gpu_problems(inputs: Inputs) -> t.Iterator[Problem]:
    gpu, docker = _gpu(inputs), inputs.facts.get("docker") or {}
    least, known = inputs.blueprint.data["engine"]["cdi_minimum"], _known_devices(inputs)
    for variable, wanted in of_gpus(inputs):
        if gpu["status"] == "none" and not isinstance(wanted, list):
            yield Problem(variable, "this host has no NVIDIA GPU.", "Set it to false for this host, or give the sandbox to a host with a GPU.")
            continue
        if gpu["status"] not in ("ok", "none"):
            yield Problem(variable, f"the GPUs of this host cannot be used: {gpu['detail']}.", gpu["remedy"])
            continue
        count = len(cdi.names(gpu["gpus"]))
        if isinstance(wanted, int) and wanted is not True and wanted > count:
            yield Problem(variable, f"{wanted} GPUs are more than the {count} of this host.", f"Use at most {count}, or true for all.")
        if isinstance(wanted, list) and (unknown := [name for name in wanted if name not in known]):
            names = f"Its devices: {', '.join(known)}." if known else "It has none; see 'nvidia-ctk cdi list' there."
            yield Problem(variable, f"{', '.join(unknown)} {'is no CDI device' if len(unknown) == 1 else 'are no CDI devices'} of this host.", names)
        if docker.get("running") and _older(docker["version"], least) and not inputs.variables.get(DOCKER, {}).get("replace"):
            yield Problem(
                variable,
                f"GPUs in sandboxes take Docker {least} or later, and this host has {docker['version']}.",
                f"Update the engine ({SOURCE}: docker with {DOCKER}.replace: true does), or set it to false for this host.",
            )


def _older(version: str, least: str) -> bool:
    return [int(part) for part in re.findall(r"\d+", version)[:3]] < [int(part) for part in least.split(".")]
