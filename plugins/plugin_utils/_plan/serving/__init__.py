# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model servers of the host. Pure functions; a kind of server is a module with C(problems), C(host_problems) and C(server)."""

from __future__ import annotations

import typing as t
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.ports import stop, who
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.listeners import collides
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import proxy
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving import disks, gpus, leftovers, nim, ollama, running, vllm
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving.server import Server
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import SECRETS, Problem, ports

# in the order they are made in; those that go make room for them first
KINDS: dict[str, t.Any] = {"ollama": ollama, "vllm": vllm, "nim": nim, "running": running}
CONTAINERS = ("vllm", "nim")


def wanted(variables: dict[str, t.Any], blueprint: Blueprint) -> list[str]:
    """The kinds that a plan answers for: what the provider needs, and what is to be there beside it, or not to be there."""
    kind_of_provider = _kind(variables, blueprint)
    states = {kind: variables.get(f"nemoclaw_{kind}", {}).get("state") for kind in KINDS}
    found = [kind for kind in KINDS if kind == kind_of_provider or states[kind] in ("present", "absent")]
    return sorted(found, key=lambda kind: states[kind] != "absent")


def _kind(variables: dict[str, t.Any], blueprint: Blueprint) -> str | None:
    """The kind of server that the provider is served by; None where it is no server of the host."""
    return blueprint.yaml("inference/providers.yaml").get(str(variables["nemoclaw_inference"].get("provider")), {}).get("server")


def probed(variables: dict[str, t.Any], blueprint: Blueprint) -> dict[str, t.Any]:
    """Where host_probe looks for servers and for their models' files, as its options say it."""
    caches = {"ollama": ollama.models_dir(variables, blueprint), "vllm": vllm.cache(variables)}
    asked = [path for kind, path in caches.items() if kind in wanted(variables, blueprint)]
    containers = {urllib.parse.urlsplit(one.url).port for kind, one in servers(variables, blueprint, {}).items() if kind in CONTAINERS}
    return {"ollama_port": ollama.port(variables, blueprint), "openai_ports": sorted({running.port(variables), *containers}), "caches": asked}


def problems(variables: dict[str, t.Any], blueprint: Blueprint) -> t.Iterator[Problem]:
    """What is wrong with the variables of the servers, whatever the host."""
    for kind in wanted(variables, blueprint):
        yield from KINDS[kind].problems(variables, blueprint)
    if _kind(variables, blueprint) not in (None, "running") and "endpoint_url" in variables["nemoclaw_inference"]:
        problem = f"is not used by the provider {variables['nemoclaw_inference']['provider']}, whose server is made on the host."
        yield Problem("nemoclaw_inference.endpoint_url", problem, "Leave it out, or set provider to custom.")
    yield from _port_problems(variables, blueprint)
    yield from proxy.problems(variables, [kind for kind, server in servers(variables, blueprint, {}).items() if server.proxied])
    yield from proxy.timeout_problems(resolved(variables, blueprint, None))


def _port_problems(variables: dict[str, t.Any], blueprint: Blueprint) -> t.Iterator[Problem]:
    """Two that would listen on one port."""
    agents = {name: blueprint.yaml(f"agents/{name}/manifest.yaml") for name in blueprint.agents()}
    taken: dict[int, str] = {}
    for variable, port in ports(resolved(variables, blueprint, None), agents).items():
        taken.setdefault(port, variable)
    for kind, server in servers(variables, blueprint, {}).items():
        if variables.get(f"nemoclaw_{kind}", {}).get("state") == "absent":
            continue
        there = kind == "running"
        port = running.port(variables) if there else urllib.parse.urlsplit(server.url).port
        variable = "nemoclaw_inference.endpoint_url" if there else f"nemoclaw_{kind}.port"
        if port in taken:
            yield Problem(variable, f"the port {port} is used by {taken[port]} too.", "Give each its own port.")
        if not there:
            taken.setdefault(port, variable)


def credentials(variables: dict[str, t.Any], blueprint: Blueprint) -> list[str]:
    """Names of the credentials that a plan lacks for its servers."""
    try:
        found = list(problems(variables, blueprint))
    except (AttributeError, KeyError, TypeError, ValueError):  # what is wrong with the variables is said where they are checked
        return []
    return [problem.variable.partition(".")[2] for problem in found if problem.variable.startswith(f"{SECRETS}.")]


def host_problems(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """What this host cannot serve, each server for itself, all together, and beside what is there."""
    found = [problem for kind in wanted(variables, blueprint) for problem in KINDS[kind].host_problems(variables, blueprint, facts)]
    found += proxy.host_problems(resolved(variables, blueprint, facts), facts)
    if found:
        yield from found
        return
    yield from _beside(variables, blueprint, facts)
    yield from gpus.problems(claims(variables, blueprint, facts), gpus.devices(facts), blueprint.data["gpu_memory"]["host_mb"])
    kinds = [KINDS[kind] for kind in wanted(variables, blueprint) if hasattr(KINDS[kind], "disk_claims")]
    yield from disks.problems([claim for kind in kinds for claim in kind.disk_claims(variables, blueprint, facts)])


def claims(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> list[gpus.Claim]:
    """The GPU memory that servers take, those of earlier runs too, and the least that sandboxes with GPUs need; none where there is no server."""
    found = _claims(servers(variables, blueprint, facts), variables, blueprint, facts)
    return [*(_claim(left) for left in left_over(variables, blueprint, facts) if left.memory_mb), *found] if found else []


def _claims(made: dict[str, Server], variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> list[gpus.Claim]:
    """What the plan itself puts on the GPUs."""
    found = []
    for kind, server in made.items():
        devices = next((tuple(entry.get("devices", [])) for entry in server.resources if "devices" in entry), ())
        if server.memory_mb:
            what = f"{kind} ({server.model})" if server.model else kind
            found.append(gpus.Claim(f"nemoclaw_{kind}", what, server.memory_mb, devices))
    there = [device.name for device in gpus.devices(facts)]
    for index, sandbox in enumerate(variables["nemoclaw_sandboxes"] if found else []):
        wanted_devices = gpus.of_sandbox(sandbox, there)
        if wanted_devices:
            least = blueprint.data["gpu_memory"]["sandbox_mb"] * len(wanted_devices)
            found.append(gpus.Claim(f"nemoclaw_sandboxes[{index}].gpu", f"sandbox {sandbox['name']}", least, wanted_devices))
    return found


def left_over(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> list[leftovers.Made]:
    """What was made on the host earlier, and nothing asks for."""
    variables = resolved(variables, blueprint, facts)
    made = leftovers.there(variables, blueprint, facts)
    return [one for one in made if one.kind not in _asked(made, variables, blueprint, facts)]


def _asked(made: list[leftovers.Made], variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> set[str]:
    """The kinds that the plan makes, that are named, or that a URL of the user's leads to; the variables are resolved."""
    kinds, settings = wanted(variables, blueprint), variables[proxy.NAME]
    urls = [one["url"] for one in settings["backends"] if one["name"] not in kinds or one["name"] == "running"]
    if _kind(variables, blueprint) in (None, "running"):
        urls.append(variables["nemoclaw_inference"].get("endpoint_url", ""))
    of_proxy = {"proxy"} if settings["backends"] or settings["state"] == "absent" else set()
    return {*kinds, *of_proxy, *leftovers.used(made, urls, facts)}


def unasked(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> list[leftovers.Made]:
    """What is left over and this plan's to remove. Servers of a host with several gateways may be another one's."""
    return [one for one in left_over(variables, blueprint, facts) if one.kind == "proxy" or not leftovers.shared(variables, facts)]


def pruned(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> dict[str, t.Any]:
    """What is to go once the rest of the plan works, as C({serving, proxy}); empty where nobody wants that. The variables are resolved."""
    if not variables.get(leftovers.PRUNE):
        return {}
    asked = _asked(leftovers.there(variables, blueprint, facts), variables, blueprint, facts)
    kinds = {} if leftovers.shared(variables, facts) else {kind: module for kind, module in KINDS.items() if kind not in (*asked, "running")}
    return leftovers.removal(kinds, "proxy" in asked, variables, blueprint, facts)


def _beside(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """Ports and names that something left over has, or somebody else's."""
    left = {port: one for one in left_over(variables, blueprint, facts) if one.running for port in one.ports}
    strangers = _strangers(facts)
    for kind, server in servers(variables, blueprint, facts).items():
        variable, port = f"nemoclaw_{kind}", urllib.parse.urlsplit(server.url).port
        if kind == "running" or variables.get(variable, {}).get("state") == "absent":
            continue
        if port in left:
            problem = f"the port {port} is held by {left[port].name} of an earlier run, which nothing asks for any more."
            yield Problem(f"{variable}.port", problem, f"Set {left[port].absent}, which removes it first, or choose another port.")
        elif port in strangers:
            yield _stranger(f"{variable}.port", port, strangers[port], facts)
        for name in sorted({entry["name"] for entry in server.resources if "name" in entry} & set((facts.get("docker") or {}).get("strangers", []))):
            problem = f"the host has a container {name} that this collection has not made."
            yield Problem(variable, problem, f"Remove it ('docker rm --force {name}'), and run again.")


def _strangers(facts: dict[str, t.Any]) -> dict[int, dict[str, t.Any]]:
    """The ports that servers were looked for on and others hold, each with its listener. Of a container only the engine knows whose it is."""
    docker, held = facts.get("docker") or {}, (facts.get("servers") or {}).get("held", [])
    if docker.get("present") and not docker.get("running"):
        return {}
    own = {one["port"] for one in docker.get("servers") or [] if one["state"] == "running"}
    here = {one["port"]: [holder for holder in one["listeners"] if collides(proxy.HOST, holder["address"])] for one in held if one["port"] not in own}
    return {port: holders[0] for port, holders in here.items() if holders}


def _stranger(variable: str, port: int, holder: dict[str, t.Any], facts: dict[str, t.Any]) -> Problem:
    answers = next((one for one in facts["servers"].get("openai", []) if one["port"] == port), {})
    models = ", ".join(one["id"] for one in answers.get("models", []))
    use = f"; or use it as it is: nemoclaw_inference.provider vllm with the endpoint_url http://{proxy.HOST}:{port}/v1" if models else ""
    problem = f"the port {port} is held by {who(holder)}{f', which serves {models}' if models else ''}; it is left alone."
    return Problem(variable, problem, f"{stop(holder, port)} or set {variable} to a free port{use}.")


def _claim(left: leftovers.Made) -> gpus.Claim:
    remedy = f"Set {left.absent}, which removes it first, or choose a smaller model."
    return gpus.Claim(f"nemoclaw_{left.kind}", f"{left.name} of an earlier run, which nothing asks for any more,", left.memory_mb, left.devices, remedy)


def servers(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> dict[str, Server]:
    """The servers of a host by kind. Without facts, what they alone can tell is C(LATER)."""
    return {kind: KINDS[kind].server(variables, blueprint, facts) for kind in wanted(variables, blueprint)}


def planned(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> dict[str, Server]:
    """The servers as they are made: one is tried beside the one before only where there is room for both beside all else that is planned."""
    made = servers(variables, blueprint, facts)
    beside, found, host_mb = _claims(made, variables, blueprint, facts), gpus.devices(facts), blueprint.data["gpu_memory"]["host_mb"]

    def tried(kind: str, entry: dict[str, t.Any]) -> dict[str, t.Any]:
        room = all(gpus.fits_twice(claim, beside, found, host_mb) for claim in beside if claim.variable == f"nemoclaw_{kind}")
        return {**entry, "side_by_side": entry["side_by_side"] and room} if "side_by_side" in entry else entry

    return {kind: server._replace(resources=[tried(kind, entry) for entry in server.resources]) for kind, server in made.items()}


def resolved(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any] | None) -> dict[str, t.Any]:
    """The variables with what the host's own servers say of C(nemoclaw_inference) (endpoint, model, tokens, the file with its key) and C(nemoclaw_proxy)."""
    kind = _kind(variables, blueprint)
    try:
        found = servers(variables, blueprint, facts or {})
        behind = {name: one.url for name, one in sorted(found.items(), key=lambda item: item[0] != kind) if one.proxied}
        variables = {**variables, proxy.NAME: proxy.completed(variables, blueprint, behind)}
        inference = variables["nemoclaw_inference"]
        if kind is None:
            key_file = proxy.key_file(variables, inference.get("endpoint_url", ""))
            return {**variables, "nemoclaw_inference": {**inference, "key_file": key_file}} if key_file else variables
        server = found[kind]
        url, key_file = proxy.endpoint(variables, kind) if server.proxied else (server.url, server.key_file)
    except (AttributeError, KeyError, TypeError, ValueError):  # what is wrong with the variables is said by problems()
        return variables
    window = {"context_window": server.context_window} if server.context_window else {}
    return {**variables, "nemoclaw_inference": {**window, **inference, "model": server.model, "endpoint_url": f"{url}/v1", "key_file": key_file}}
