# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container engine's own account of itself, asked over its socket: no docker SDK, no CLI. Private to the collection."""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import socket
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import PATIENCE, Host

SOCKET = "/var/run/docker.sock"
SANDBOXES = "/containers/json?all=1&filters=" + urllib.parse.quote('{"label":["openshell.ai/managed-by=openshell"]}')
# labels of model servers of this collection: the kind, and what they were made from
SERVER, SPEC = "nemoclaw.fleet/server", "nemoclaw.fleet/spec"
SERVERS = "/containers/json?all=1&filters=" + urllib.parse.quote(f'{{"label":["{SERVER}"]}}')
# what has a name as containers of this collection have them, made by it or not
NAMED = "/containers/json?all=1&filters=" + urllib.parse.quote('{"name":["nemoclaw-"]}')
SHARE = "--gpu-memory-utilization"
# packages that bring an engine, or stand in its place
PACKAGES = ("docker.io", "docker-ce", "moby-engine", "podman-docker")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, *requests: str, timeout: float = PATIENCE) -> list:
    """GET each request from the engine behind a socket, parsed. Raises OSError or ValueError."""
    connection = _UnixConnection(path, timeout)
    try:
        answers = []
        for request in requests:
            connection.request("GET", request)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise ValueError(f"{request} answered {response.status}: {body[:200].decode(errors='replace')}")
            answers.append(json.loads(body))
        return answers
    except http.client.HTTPException as exc:
        raise ValueError(f"the engine's answer is not HTTP: {exc!r}") from exc
    finally:
        connection.close()


def read(host: Host, shown: str = "") -> dict:
    """The C(docker) facts, see RETURN of host_probe for their shape; C(shown) is what dpkg says of its packages."""
    cli = host.which("docker")
    facts = {
        "packages": packages(shown),
        "cli": cli,
        "present": bool(cli or host.exists(SOCKET) or host.which("dockerd")),
        "running": False,
        "error": "",
        "snap": host.exists("/snap/docker/current"),
        "rootless_sockets": host.glob("/run/user/*/docker.sock"),
    }
    if not facts["present"]:
        return facts
    try:
        answers = ask(host.path(SOCKET), "/version", "/info", "/networks", SANDBOXES, SERVERS, "/images/json", NAMED)
    except (OSError, ValueError) as exc:
        return dict(facts, error=str(exc))
    return dict(facts, running=True, **describe(*answers))


def commands(host: Host) -> dict[str, list[str]]:
    program = host.which("dpkg-query")
    return {"packages": [program, "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *PACKAGES]} if program else {}


def packages(shown: str) -> list[str]:
    """Those of C(PACKAGES) that dpkg has installed."""
    return [name for name in PACKAGES if f"{name} installed" in shown.splitlines()]


def credential_helper(host: Host, home: str) -> str:
    """The program that an account's client asks for registry credentials and that is not there; an empty string when all is well."""
    try:
        settings = json.loads(host.text(f"{home}/.docker/config.json") or "{}") if home else {}
        wanted = {settings.get("credsStore"), *(settings.get("credHelpers") or {}).values()}
    except (ValueError, AttributeError):
        return ""
    return next((f"docker-credential-{name}" for name in sorted(filter(None, wanted)) if not host.which(f"docker-credential-{name}")), "")


def image_store(info: dict) -> str:
    """C(containerd) where the engine leaves images to it, as new installations do from Docker 29 on; else C(docker). Pure."""
    return "containerd" if ["driver-type", "io.containerd.snapshotter.v1"] in (info.get("DriverStatus") or []) else "docker"


def describe(version: dict, info: dict, networks: list[dict], sandboxes: list[dict], servers: list[dict], images: list[dict], named: list[dict]) -> dict:
    """The facts in the engine's answers. Pure."""
    podman = any("podman" in part.get("Name", "").lower() for part in version.get("Components") or [])
    return {
        "engine": "podman" if podman else "docker",
        "version": version.get("Version", ""),
        "api_version": version.get("ApiVersion", ""),
        "storage_driver": info.get("Driver", ""),
        "image_store": image_store(info),
        "data_root": info.get("DockerRootDir", ""),
        "cgroup_driver": info.get("CgroupDriver", ""),
        "cgroup_version": int(info.get("CgroupVersion") or 1),
        "cdi_spec_dirs": sorted(info.get("CDISpecDirs") or []),
        "runtimes": sorted(info.get("Runtimes") or {}),
        "security_options": sorted(info.get("SecurityOptions") or []),
        "containers_running": info.get("ContainersRunning", 0),
        "errors": list(info.get("ServerErrors") or []),
        "http_proxy": mask_url(info.get("HttpProxy", "")),
        "https_proxy": mask_url(info.get("HttpsProxy", "")),
        "no_proxy": info.get("NoProxy", ""),
        "networks": {network["Name"]: _describe_network(network) for network in sorted(networks, key=lambda one: one["Name"])},
        "sandboxes": sorted((_describe_sandbox(one) for one in sandboxes), key=lambda one: (one["gateway"], one["name"])),
        "servers": sorted(map(_describe_server, servers), key=lambda one: one["name"]),
        "strangers": sorted(_name(one) for one in named if SPEC not in (one.get("Labels") or {})),
        "images": sorted({name for one in images for name in [*(one.get("RepoTags") or []), *(one.get("RepoDigests") or [])] if "<none>" not in name}),
    }


def _describe_network(network: dict) -> dict:
    pools = [pool for pool in (network.get("IPAM") or {}).get("Config") or [] if pool.get("Subnet")]
    gateways = [pool["Gateway"] for pool in pools if pool.get("Gateway")]
    if not gateways and network.get("Driver") == "bridge" and pools:  # the engine takes the first address, but older ones do not say so
        gateways = [str(next(ipaddress.ip_network(pools[0]["Subnet"], strict=False).hosts()))]
    options = network.get("Options") or {}
    bridge = network.get("Driver") == "bridge"
    return {
        "driver": network.get("Driver", ""),
        "subnets": [pool["Subnet"] for pool in pools],
        "gateway": next(iter(gateways), ""),
        "interface": (options.get("com.docker.network.bridge.name") or f"br-{network.get('Id', '')[:12]}") if bridge else "",
        "mtu": int(options.get("com.docker.network.driver.mtu") or 1500) if bridge else 0,
        "gateway_of": (network.get("Labels") or {}).get("openshell.ai/sandbox-namespace", ""),
    }


def _name(container: dict) -> str:
    return next(iter(container.get("Names") or ["?"])).lstrip("/")


def _describe_sandbox(container: dict) -> dict:
    labels = container.get("Labels") or {}
    name = labels.get("openshell.ai/sandbox-name") or _name(container)
    return {"name": name, "gateway": labels.get("openshell.ai/sandbox-namespace", ""), "state": container.get("State", "")}


def _describe_server(container: dict) -> dict:
    labels = container.get("Labels") or {}
    spec = json.loads(labels.get(SPEC) or "{}")
    command = spec.get("command") or []
    return {
        "kind": labels[SERVER],
        "name": _name(container),
        "state": container.get("State", ""),
        "image": spec.get("image", ""),
        "port": (spec.get("publish") or {}).get("port", 0),
        "devices": spec.get("devices") or [],
        "memory_share": memory_share(command),
    }


def memory_share(command: list[str]) -> float:
    """The part of each of its GPUs' memory that a vLLM takes, by its command; 0 where that does not say."""
    return float(command[command.index(SHARE) + 1]) if SHARE in command else 0.0


def mask_url(url: str) -> str:
    """A URL without its password."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:********@", url or "")
