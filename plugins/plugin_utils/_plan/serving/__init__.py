# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model servers of the host. Pure functions; a kind of server is a module with C(problems), C(host_problems) and C(server)."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import proxy
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving import running
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving.server import Server
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem

# in the order they are made in
KINDS: dict[str, t.Any] = {"running": running}


def wanted(variables: dict[str, t.Any], blueprint: Blueprint) -> list[str]:
    """The kinds that a host is to have: what its provider needs, and what is asked for beside it."""
    kind_of_provider = _kind(variables, blueprint)
    return [kind for kind in KINDS if kind == kind_of_provider or variables.get(f"nemoclaw_{kind}", {}).get("state") == "present"]


def _kind(variables: dict[str, t.Any], blueprint: Blueprint) -> str | None:
    """The kind of server that the provider is served by; None where it is no server of the host."""
    return blueprint.yaml("inference/providers.yaml").get(str(variables["nemoclaw_inference"].get("provider")), {}).get("server")


def problems(variables: dict[str, t.Any], blueprint: Blueprint) -> t.Iterator[Problem]:
    """What is wrong with the variables of the servers, whatever the host."""
    for kind in wanted(variables, blueprint):
        yield from KINDS[kind].problems(variables, blueprint)


def host_problems(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """What this host cannot serve."""
    for kind in wanted(variables, blueprint):
        yield from KINDS[kind].host_problems(variables, blueprint, facts)


def servers(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> dict[str, Server]:
    """The servers of a host by kind. Without facts, what they alone can tell is C(LATER)."""
    return {kind: KINDS[kind].server(variables, blueprint, facts) for kind in wanted(variables, blueprint)}


def resolved(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any] | None) -> dict[str, t.Any]:
    """The variables with what the host's own server says of C(nemoclaw_inference): endpoint, model, tokens, and the file with its key."""
    inference, kind = variables["nemoclaw_inference"], _kind(variables, blueprint)
    if kind is None:
        return variables
    try:
        server = KINDS[kind].server(variables, blueprint, facts or {})
    except (AttributeError, KeyError, TypeError, ValueError):  # what is wrong with the variables is said by problems()
        return variables
    url, key_file = proxy.endpoint(variables, blueprint, kind) if server.proxied else (server.url, server.key_file)
    window = {"context_window": server.context_window} if server.context_window else {}
    return {**variables, "nemoclaw_inference": {**window, **inference, "model": server.model, "endpoint_url": f"{url}/v1", "key_file": key_file}}
