# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model servers and a proxy that were made on the host earlier, and that the variables neither need nor name any more. Pure functions."""

from __future__ import annotations

import typing as t
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.url import is_loopback
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import images, proxy
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving import gpus, nim

PRUNE = "nemoclaw_prune"


class Made(t.NamedTuple):
    """A server or a proxy that a run has made: C(kind) is that of the server, or C(proxy), C(name) its container or unit, C(memory_mb) what it takes now."""

    kind: str
    name: str
    ports: tuple[int, ...]
    running: bool = True
    memory_mb: int = 0
    devices: tuple[str, ...] = ()

    @property
    def absent(self) -> str:
        """What the user sets to have it removed."""
        return f"nemoclaw_{self.kind}: {{state: absent}}"

    def __str__(self) -> str:
        keep = "name a server in nemoclaw_proxy.backends" if self.kind == "proxy" else f"set nemoclaw_{self.kind}: {{state: present}}"
        where = f"runs on port {', '.join(map(str, self.ports))}" if self.running and self.ports else "is there"
        return f"{self.name} of an earlier run {where}, and nothing asks for it any more. Set {self.absent} or {PRUNE}: true to remove it; to keep it, {keep}."


def removal(kinds: dict[str, t.Any], keep_proxy: bool, variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> dict[str, t.Any]:
    """C({serving, proxy}) without what nothing asks for, also where it is not there: the plan is the same afterwards. C(kinds) are modules."""
    absent = {kind: {**variables, f"nemoclaw_{kind}": {**variables.get(f"nemoclaw_{kind}", {}), "state": "absent"}} for kind in ("proxy", *kinds)}
    return {
        "serving": {kind: {"resources": module.server(absent[kind], blueprint, facts).resources} for kind, module in kinds.items()},
        "proxy": {} if keep_proxy else proxy.desired(absent["proxy"], blueprint),
    }


def shared(variables: dict[str, t.Any], facts: dict[str, t.Any]) -> bool:
    """Whether another gateway of the host may use the servers."""
    return bool(set(facts.get("gateways") or []) - {variables["nemoclaw_gateway"]["name"]})


def there(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> list[Made]:
    servers, gateway = facts.get("servers") or {}, variables["nemoclaw_gateway"]["name"]
    proxies = [Made("proxy", f"{gateway}-proxy.service", tuple(one["ports"])) for one in servers.get("proxies") or [] if one["gateway"] == gateway]
    ollama = [_ollama(servers["ollama"])] if (servers.get("ollama") or {}).get("ours") else []
    return [*(_container(one, variables, blueprint, facts) for one in (facts.get("docker") or {}).get("servers") or []), *ollama, *proxies]


def used(made: list[Made], urls: t.Iterable[str], facts: dict[str, t.Any]) -> set[str]:
    """The kinds that URLs lead to, be it through a proxy of this collection."""
    own = (facts.get("networks") or {}).get("local") or []
    ports = {url.port for url in map(urllib.parse.urlsplit, urls) if is_loopback(url.hostname or "") or url.hostname in own}
    for one in (facts.get("servers") or {}).get("proxies") or []:
        if ports & set(one["ports"]):
            ports |= set(one["backends"])
    return {one.kind for one in made if ports & set(one.ports)}


def _container(one: dict[str, t.Any], variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> Made:
    running, devices = one["state"] == "running", tuple(one["devices"])
    share = one["memory_share"] * sum(device.memory_mb for device in gpus.devices(facts) if device.name in devices)
    models = nim.catalogue(blueprint)["models"] if one["kind"] == "nim" else []
    least = next((model["gpu_memory_mb"] for model in models if images.named(model["image"], variables) == one["image"]), 0)
    return Made(one["kind"], one["name"], (one["port"],), running, (int(share) or least) if running else 0, devices)


def _ollama(there: dict[str, t.Any]) -> Made:
    unit = there.get("unit") or {}
    port = (unit.get("environment") or {}).get("OLLAMA_HOST", "").rpartition(":")[2]
    ports = (int(port),) if port.isdigit() else ()
    return Made("ollama", "ollama.service", ports, unit.get("state") == "active", sum(one.get("gpu_mb", 0) for one in there.get("loaded", [])))
