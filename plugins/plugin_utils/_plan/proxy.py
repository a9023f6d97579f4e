# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy with a token that stands before servers of the host's loopback. Pure functions."""

from __future__ import annotations

import typing as t
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.names import unit_name
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.url import is_loopback
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem, network, proxy_ports

NAME = "nemoclaw_proxy"
SETTINGS = ("address", "port", "exempt_tags", "body_mb")
TIMEOUTS = ("timeout", "probe_timeout")  # of nemoclaw_inference: how long a request may take
EVERYWHERE = "0.0.0.0"  # a word of the configuration
HOST = "127.0.0.1"


def completed(variables: dict[str, t.Any], blueprint: Blueprint, servers: dict[str, str]) -> dict[str, t.Any]:
    """C(nemoclaw_proxy) with every default, and with the servers of the host (names to URLs, the provider's first) among its backends."""
    data, chosen = blueprint.yaml("inference/proxy.yaml"), variables.get(NAME, {})
    timeout = max([data["timeout"], *_timeouts(variables).values()])
    settings = {**{key: data[key] for key in SETTINGS}, "timeout": timeout, "state": "present", "tls": {}, **chosen}
    named = {backend["name"]: backend for backend in chosen.get("backends", [])}
    own = [{"port": settings["port"] + index, **named.get(name, {}), "name": name, "url": url} for index, (name, url) in enumerate(servers.items())]
    return {**settings, "backends": [*own, *(backend for name, backend in named.items() if name not in servers)]}


def problems(variables: dict[str, t.Any], servers: t.Collection[str]) -> t.Iterator[Problem]:
    """What is wrong with C(nemoclaw_proxy), whatever the host. C(servers) are those of the host that need it."""
    chosen = variables.get(NAME, {})
    if chosen.get("state") == "absent" and servers:
        yield Problem(f"{NAME}.state", f"the model server {', '.join(servers)} is reached through the proxy.", "Leave it out, or choose another provider.")
    address = chosen.get("address", EVERYWHERE)
    if max(map(int, address.split("."))) > 255:
        yield Problem(f"{NAME}.address", f"{address!r} is no IPv4 address.", "Give an address of the host, 0.0.0.0 or 127.0.0.1.")
    tls = chosen.get("tls", {})
    for key in ("certificate", "key"):
        if tls.get("source") == "files" and not tls.get(key):
            yield Problem(f"{NAME}.tls.{key}", "is missing; the source files needs it.", "Set it to a path on the host.")
    names: set[str] = set()
    for index, backend in enumerate(chosen.get("backends", [])):
        where = f"{NAME}.backends[{index}]"
        if backend["name"] in names:
            yield Problem(f"{where}.name", f"{backend['name']!r} is there twice.", "Give each backend its own name.")
        names.add(backend["name"])
        if backend["name"] in servers:
            continue
        if not server(backend.get("url", "")):
            remedy = "Give it as http://127.0.0.1:8000, without a path."
            yield Problem(f"{where}.url", f"{backend.get('url', '')!r} is no http URL of a server on the host's loopback.", remedy)


def timeout_problems(variables: dict[str, t.Any]) -> t.Iterator[Problem]:
    """A completed proxy that gives up before the requests of an inference that goes through it; its default never does."""
    through = variables["nemoclaw_inference"].get("key_file") == f"{_directory(variables)}/token"
    for key, seconds in _timeouts(variables).items() if through else ():
        if variables[NAME]["timeout"] < seconds:
            problem = f"{variables[NAME]['timeout']} is less than nemoclaw_inference.{key}, {seconds}, whose requests go through the proxy."
            yield Problem(f"{NAME}.timeout", problem, f"Set it to at least {seconds}, or leave it out.")


def host_problems(variables: dict[str, t.Any], facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """An address of a completed proxy that the host has not."""
    address, there = variables[NAME]["address"], (facts.get("networks") or {}).get("local", [])
    if proxy_ports(variables) and there and address not in (EVERYWHERE, *there) and not is_loopback(address):
        yield Problem(f"{NAME}.address", f"{address} is no address of this host.", f"Give one of {', '.join(there)}, or 0.0.0.0 or 127.0.0.1.")


def endpoint(variables: dict[str, t.Any], backend: str) -> tuple[str, str]:
    """The URL of a backend of a completed proxy, on the host's loopback, and the file that holds the token."""
    port = next(one["port"] for one in variables[NAME]["backends"] if one["name"] == backend)
    return f"http://{HOST}:{port}", f"{_directory(variables)}/token"


def key_file(variables: dict[str, t.Any], url: str) -> str:
    """The file with the token where a URL is one of a completed proxy's; else empty."""
    parts = urllib.parse.urlsplit(url)
    ours = is_loopback(parts.hostname or "") and parts.port in proxy_ports(variables).values()
    return f"{_directory(variables)}/token" if ours else ""


def desired(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    """C({resources}) that make a completed proxy, in their order; nothing where none was asked for. Without facts for the distributions of today."""
    data, chosen = blueprint.yaml("inference/proxy.yaml"), variables[NAME]
    unit = unit_name(variables["nemoclaw_gateway"]["name"], "proxy")
    name, directory = unit.partition(".")[0], _directory(variables)
    if chosen["state"] == "absent":
        gone = {"name": name, "directory": directory, "runtime": f"/run/{name}", "state": "absent"}
        return {"resources": [{"resource": "unit", "name": unit, "state": "absent"}, {"resource": "proxy", **gone}]}
    if not chosen["backends"]:
        return {}
    paths, nginx = {"name": name, "directory": directory, "runtime": f"/run/{name}"}, _nginx(data, facts or {})
    values = {**paths, **{key: data[key] for key in ("connections", "connect_timeout", "drain", "header_kb")}, "user": name}
    tls = chosen["tls"]
    own = {"certificate": f"{directory}/own.crt", "key": f"{directory}/own.key", "days": data["certificate_days"]}
    listens = [(address, backend["port"]) for backend in chosen["backends"] for address in _addresses(variables)]
    return {
        "resources": [
            {"resource": "packages", "name": "proxy", "packages": nginx["packages"]},
            {"resource": "user", "name": name},
            {"resource": "file", "path": directory, "owner": "root", "group": name, "mode": "0750"},
            {"resource": "secret", "path": f"{directory}/token", "bytes": data["token_bytes"], "owner": "root", "group": "root", "mode": "0600"},
            {
                "resource": "proxy",
                **paths,
                "user": name,
                "config": blueprint.render("proxy/nginx.conf.j2", **values, **_of_servers(variables)),
                "listens": [{"address": address, "port": port} for address, port in listens],
                # the second one while it is being rotated
                "tokens": [f"{directory}/token", f"{directory}/token.next"],
                "tls": {} if not tls else own if tls["source"] == "own" else {"certificate": tls["certificate"], "key": tls["key"]},
            },
            {"resource": "unit", "name": unit, "content": blueprint.render("proxy/proxy.service.j2", **values, options=nginx["options"])},
            # left by a rotation that was interrupted: both are let in until it is finished
            {"resource": "secret", "path": f"{directory}/token.next", "state": "absent"},
        ]
    }


def _nginx(data: dict[str, t.Any], facts: dict[str, t.Any]) -> dict[str, t.Any]:
    """The packages that bring nginx to this distribution, and the options that it is started with."""
    distribution = facts.get("distribution", {})
    return data["nginx"].get(distribution.get("id"), {}).get(distribution.get("version"), data["nginx"]["default"])


def _timeouts(variables: dict[str, t.Any]) -> dict[str, int]:
    """How long a request may take, by the key of C(nemoclaw_inference) that says so."""
    given = variables["nemoclaw_inference"]
    return {key: given[key] for key in TIMEOUTS if isinstance(given.get(key), int)}


def _directory(variables: dict[str, t.Any]) -> str:
    return f"/etc/{variables['nemoclaw_gateway']['name']}/proxy"


def _addresses(variables: dict[str, t.Any]) -> list[str]:
    """Where it listens: for other machines where that was asked for, for the host itself and its sandboxes always."""
    address = variables[NAME]["address"]
    return [EVERYWHERE] if address == EVERYWHERE else list(dict.fromkeys([address, HOST, network(variables)["address"]]))


def _of_servers(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """What nginx.conf says of clients and backends. With TLS, what never leaves the host goes without: it is the more specific address of the same port."""
    chosen = variables[NAME]
    plain = [HOST, network(variables)["address"]]

    def listens(port: int) -> list[str]:
        if not chosen["tls"]:
            return [f"{address}:{port}" for address in _addresses(variables)]
        outside = [] if chosen["address"] in plain else [f"{chosen['address']}:{port} ssl"]
        return [*outside, *(f"{address}:{port}" for address in plain)]

    return {
        "body_mb": chosen["body_mb"],
        "timeout": chosen["timeout"],
        "backends": [
            {"name": one["name"], "server": server(one["url"]), "listens": listens(one["port"]), "exempt_tags": chosen["exempt_tags"]}
            for one in chosen["backends"]
        ],
    }


def server(url: str) -> str:
    """host:port of a plain URL of the loopback; empty where it is something else."""
    try:
        parts = urllib.parse.urlsplit(url)
        plain = parts.scheme == "http" and parts.port and parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    except ValueError:
        return ""
    if not plain or not is_loopback(parts.hostname or ""):
        return ""
    # a name is several servers to nginx, of IPv4 and of IPv6: each would get a part of the requests, also where nothing listens
    return parts.netloc if parts.hostname[0].isdigit() or ":" in parts.hostname else f"{HOST}:{parts.port}"
