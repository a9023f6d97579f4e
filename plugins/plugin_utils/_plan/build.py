# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From variables, blueprint and facts to the complete desired state of one host. Pure: the same input gives the same plan, byte for byte."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import typing as t
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.build_context import build_name
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.names import unit_name
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.url import is_loopback, normalise
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._agents import AGENTS
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import engine, host, images, openshell, proxy, registry, serving
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem, agent_settings, network
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.compose import Composed

SCHEMA = 1


def canonical(value: t.Any) -> str:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def digest(value: t.Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class Inputs(t.NamedTuple):
    """All that a plan depends on. C(variables) are valid and hold no secret; C(programs) are SHA-256 digests of the programs of a directory, by name.

    C(policies) are those of the sandboxes, by name, composed from the rest.
    """

    host: str
    variables: dict[str, t.Any]
    blueprint: Blueprint
    facts: dict[str, t.Any]
    programs: dict[str, str]
    policies: dict[str, Composed]


def fact_problems(inputs: Inputs) -> list[Problem]:
    """What the variables ask for that this host cannot give."""
    ours = inputs.variables["nemoclaw_gateway"]["name"]
    subnet = ipaddress.ip_network(inputs.variables["nemoclaw_gateway"]["subnet"])
    networks = (inputs.facts.get("docker") or {}).get("networks") or {}
    own = {ipaddress.ip_network(s) for name, network in networks.items() if name == ours for s in network.get("subnets", [])}
    if not (inputs.facts.get("docker") or {}).get("running"):  # its bridges are still there, and nobody says whose they are
        own.add(subnet)
    used = {s: f"the Docker network {name}" for name, network in networks.items() if name != ours for s in network.get("subnets", [])}
    used.update(
        {
            route: "a route of the host"
            for route in (inputs.facts.get("networks") or {}).get("routes", [])
            if ipaddress.ip_network(route) not in own and route not in used
        }
    )
    overlaps = [
        Problem("nemoclaw_gateway.subnet", f"{subnet} overlaps {other}, {what}.", "Choose a free subnet.")
        for other, what in sorted(used.items())
        if ipaddress.ip_network(other).version == 4 and subnet.overlaps(ipaddress.ip_network(other))
    ]
    users = inputs.facts.get("users") or {}
    strangers = [
        Problem("nemoclaw_gateway_users", f"{name!r} is no user of this host.", "Make the user first, or take it out of the list.")
        for name in inputs.variables["nemoclaw_gateway_users"]
        if not users.get(name)
    ]
    return [
        *overlaps,
        *strangers,
        *engine.problems(inputs),
        *openshell.host_problems(inputs.variables, inputs.blueprint.data, inputs.facts),
        *serving.host_problems(inputs.variables, inputs.blueprint, inputs.facts),
        *(problem for composed in inputs.policies.values() for problem in composed.problems),
    ]


def build(inputs: Inputs) -> dict[str, t.Any]:
    """The plan of a host. C(digest) covers all the rest but C(variables), the digest of what was set: other variables may come to the same plan."""
    given = digest(inputs.variables)
    inputs = inputs._replace(variables=serving.resolved(inputs.variables, inputs.blueprint, inputs.facts))
    owner = _owner(inputs)
    gateway = _gateway(inputs, owner)
    inference = _inference(inputs) if inputs.variables["nemoclaw_inference"] else {}
    plan = {
        "schema": SCHEMA,
        "host": inputs.host,
        "blueprint": {"version": inputs.blueprint.data["version"], "digest": inputs.blueprint.digest},
        "owner": owner,
        "repair": host.desired(inputs.variables),
        "engine": engine.desired(inputs),
        "gateway": gateway,
        **_local(inputs),
        "inference": inference,
        "sandboxes": [
            _registered(inputs, owner, inference, entry, _sandbox(inputs, owner, gateway, entry)) for entry in inputs.variables["nemoclaw_sandboxes"]
        ],
    }
    return {**plan, "digest": digest(plan), "variables": given}


def _local(inputs: Inputs) -> dict[str, t.Any]:
    """C({serving, proxy, leftovers}): the model servers of the host by kind, the proxy before those that take no key, and what of both is to go at last."""
    servers = serving.planned(inputs.variables, inputs.blueprint, inputs.facts)
    return {
        "serving": {kind: {"resources": server.resources} for kind, server in servers.items() if server.resources},
        "proxy": proxy.desired(inputs.variables, inputs.blueprint, inputs.facts),
        "leftovers": serving.pruned(inputs.variables, inputs.blueprint, inputs.facts),
    }


def _owner(inputs: Inputs) -> dict[str, t.Any]:
    name = inputs.variables["nemoclaw_user"]
    home = host.home_of(name, inputs.facts)
    return {"name": name, "home": home, "state_dir": f"{home}/.nemoclaw", "groups": [inputs.blueprint.data["gateway"]["docker_group"]]}


def _gateway(inputs: Inputs, owner: dict[str, t.Any]) -> dict[str, t.Any]:
    data, chosen = inputs.blueprint.data, inputs.variables["nemoclaw_gateway"]
    bin_dir = inputs.variables["nemoclaw_openshell"]["bin_dir"]
    state_dir = f"{owner['state_dir']}/gateway"
    values = {
        **{key: chosen[key] for key in ("name", "port", "health_port", "log_level")},
        "network": chosen["name"],
        "host_alias": data["gateway"]["host_alias"],
        "bin_dir": bin_dir,
        "state_dir": state_dir,
        "tls_dir": f"{state_dir}/tls",
        "config_path": f"{state_dir}/gateway.toml",
        "owner": owner["name"],
    }
    toml = inputs.blueprint.render("gateway/gateway.toml.j2", **values)
    unit = "gateway/gateway.service.j2"
    running = digest([toml, inputs.blueprint.render(unit, **values, digest="")])
    private = {"owner": owner["name"], "group": owner["name"]}
    return {
        "name": chosen["name"],
        "endpoint": f"https://127.0.0.1:{chosen['port']}",
        "health_port": chosen["health_port"],
        "tls_dir": values["tls_dir"],
        "certificates": {
            "path": values["tls_dir"],
            "owner": owner["name"],
            "bin_dir": bin_dir,
            "server_name": data["gateway"]["host_alias"],
            "days": data["gateway"]["certificate_days"],
            "unit": unit_name(chosen["name"], "gateway"),
            "tokens": f"{state_dir}/state/openshell/docker-sandbox-tokens/{chosen['name']}",
        },
        "users": sorted(set(inputs.variables["nemoclaw_gateway_users"])),
        "bin_dir": bin_dir,
        "versions": {key: data["openshell"][key] for key in ("minimum", "below")},
        "packages": data["requirements"]["packages"],
        "programs": openshell.programs(inputs.variables, data, inputs.facts, inputs.programs),
        "directories": [{"path": path, "mode": "0700", **private} for path in (owner["state_dir"], state_dir)],
        "files": [{"path": values["config_path"], "mode": "0600", **private, "content": toml}],
        "network": {
            "name": chosen["name"],
            "subnet": chosen["subnet"],
            "labels": {"openshell.ai/managed-by": "openshell", "openshell.ai/sandbox-namespace": chosen["name"]},
        },
        "units": [{"name": unit_name(chosen["name"], "gateway"), "content": inputs.blueprint.render(unit, **values, digest=running)}],
    }


def sandbox_url(url: str, host_alias: str) -> str:
    """The endpoint as a sandbox reaches it: a loopback address of the host by the host's name inside sandboxes."""
    parts = urllib.parse.urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return url
    port = f":{parts.port}" if parts.port else ""
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{host_alias}{port}"))


def _inference(inputs: Inputs) -> dict[str, t.Any]:
    data, chosen = inputs.blueprint.data, inputs.variables["nemoclaw_inference"]
    provider = inputs.blueprint.yaml("inference/providers.yaml")[chosen["provider"]]
    url = normalise(chosen.get("endpoint_url") or provider["endpoint_url"])
    inside = sandbox_url(url, data["gateway"]["host_alias"])
    return {
        "kind": chosen["provider"],
        "credential": provider["credential"],
        "key_file": chosen.get("key_file", ""),
        "endpoint": {
            "url": url,
            "sandbox_url": inside,
            "host_alias": data["gateway"]["host_alias"],
            "bridge": network(inputs.variables)["address"],
            "model": chosen["model"],
            "api": (chosen.get("preferred_api") or provider["apis"][0]).partition("-")[2],
            "timeout": chosen.get("probe_timeout") or chosen.get("timeout") or data["inference"]["probe_timeout"],
        },
        "provider": {
            "name": provider["name"],
            "type": provider["type"],
            "config": {provider["url"]: inside},
            "key": provider["key"],
        },
        "route": {"provider": provider["name"], "model": chosen["model"], "timeout": _request_timeout(inputs)},
        "settle": data["inference"]["settle"],
    }


def _image(inputs: Inputs, owner: dict[str, t.Any], agent: str, manifest: dict[str, t.Any]) -> dict[str, t.Any]:
    chosen = inputs.variables.get("nemoclaw_images", {}).get(agent, {})
    source = chosen.get("source", "build")
    if source == "pull":
        name = images.named(chosen["name"], inputs.variables)
        return {"name": name, "reference": name, "source": source, **images.mirrors(inputs.variables)}
    if source == "archive":
        return {"name": chosen["name"], "reference": chosen["name"], "source": source, "archive": f"{owner['state_dir']}/images/{agent}.tar"}
    folder = f"agents/{agent}"
    files = [{"path": manifest["dockerfile"], "mode": "0644"}, *manifest["image_files"]]
    files = [{**entry, "content": inputs.blueprint.text(f"{folder}/{entry['path']}")} for entry in files]
    arguments = {"BASE_IMAGE": chosen.get("base", manifest["base_image"]), "VERSION_MIN": str(manifest["version_min"])}
    labels = {"nemoclaw.fleet/agent": agent}
    inputs_of = {"files": files, "build_args": arguments, "labels": labels, "dockerfile": manifest["dockerfile"]}
    reference = build_name(f"nemoclaw/{agent}", **inputs_of)
    return {"name": f"nemoclaw/{agent}", "reference": reference, "source": source, **inputs_of, **images.mirrors(inputs.variables)}


def _registered(inputs: Inputs, owner: dict[str, t.Any], inference: dict[str, t.Any], sandbox: dict[str, t.Any], made: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**made, "registry": registry.desired(inputs.variables, owner, sandbox, made, inference)}


def _request_timeout(inputs: Inputs) -> int:
    return inputs.variables["nemoclaw_inference"].get("timeout", inputs.blueprint.data["inference"]["timeout"])


def _sandbox(inputs: Inputs, owner: dict[str, t.Any], gateway: dict[str, t.Any], sandbox: dict[str, t.Any]) -> dict[str, t.Any]:
    name, agent = sandbox["name"], sandbox["agent"]
    manifest = inputs.blueprint.yaml(f"agents/{agent}/manifest.yaml")
    agent_unit = unit_name(gateway["name"], "agent", name)
    port = sandbox.get("dashboard_port", manifest["port"])
    if sandbox.get("state") == "absent":
        return {"name": name, "state": "absent", "unit": {"name": agent_unit, "state": "absent"}, "forward": {"sandbox": name, "port": port, "state": "absent"}}
    image = _image(inputs, owner, agent, manifest)
    timeout = _request_timeout(inputs)
    rendered = AGENTS[agent].files({**agent_settings(inputs.variables, sandbox), "timeout": timeout}, manifest)
    files = [{"path": entry["path"], "mode": entry["mode"], "content": entry["content"]} for entry in rendered]
    for entry, source in zip(files, rendered):
        if source["name"] == "config" and manifest["validate_argv"]:
            entry["validate"] = manifest["validate_argv"]
    values = {"sandbox": name, "agent": manifest, "owner": owner["name"], "gateway": gateway["name"], "bin_dir": gateway["bin_dir"]}
    unit = "agents/agent.service.j2"
    running = digest([inputs.blueprint.render(unit, **values, digest=""), image["reference"], [entry["content"] for entry in rendered if entry["restart"]]])
    return {
        "name": name,
        "state": "present",
        "agent": agent,
        "image": image,
        "create": {
            **{key: sandbox[key] for key in ("cpu", "memory", "mounts") if sandbox.get(key)},
            **({"cdi_devices": engine.devices(inputs, sandbox["gpu"])} if sandbox.get("gpu") else {}),
            "name": name,
            "image": image["reference"],
            "policy": inputs.policies[name].policy,
            "labels": {"nemoclaw.fleet/agent": agent},
            "files": files,
        },
        "unit": {"name": agent_unit, "content": inputs.blueprint.render(unit, **values, digest=running)},
        "forward": {
            "sandbox": name,
            "port": port,
            "target_port": manifest["port"],
            "bind": "127.0.0.1",
            "directives": inputs.blueprint.render("gateway/client.j2"),
            "ready": manifest["health_path"],
            "timeout": inputs.variables.get("nemoclaw_sandbox_ready_timeout", manifest["start_timeout"]),
        },
        "verify": {
            "argv": [word.replace("{prompt}", inputs.variables["nemoclaw_verify_prompt"]) for word in manifest["verify_argv"]],
            "timeout": max(manifest["verify_timeout"], timeout + 60),
            **{key: manifest[f"verify_{key}"] for key in ("ok", "answer", "error")},
        },
    }
