# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with an OpenAI-compatible API that runs on the host already, vLLM for instance. Nothing of it is managed."""

from __future__ import annotations

import typing as t
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import proxy
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving.server import LATER, Server
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem, url_problem

URL = "http://127.0.0.1:8000"


def problems(variables: dict[str, t.Any], blueprint: Blueprint) -> t.Iterator[Problem]:
    """A URL that the proxy cannot stand before."""
    url = variables["nemoclaw_inference"].get("endpoint_url", URL)
    if wrong := url_problem(url):
        yield Problem("nemoclaw_inference.endpoint_url", *wrong)
    elif not proxy.server(_url(variables)):
        remedy = "Give it as http://127.0.0.1:8000/v1; for a server elsewhere set provider to custom."
        yield Problem("nemoclaw_inference.endpoint_url", f"{url!r} is no http URL of a server on the host's loopback.", remedy)


def host_problems(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """A server that is to run already and does not, or not as the proxy needs it."""
    chosen, url = variables["nemoclaw_inference"], _url(variables)
    found = _found(url, facts)
    if found and found.get("key_needed"):
        remedy = "Start it without one, or set provider to custom, and COMPATIBLE_API_KEY in nemoclaw_credentials."
        yield Problem("nemoclaw_inference.provider", f"the server at {url} asks for a key, and the proxy before it has none.", remedy)
    elif found is None and not chosen.get("model"):
        yield Problem("nemoclaw_inference.provider", f"no server answers at {url}/v1/models.", "Start it first, or set provider to install-vllm.")
    elif found is None and not chosen.get("context_window"):  # the agents would be told another one for as long as it does not answer
        remedy = "Start it first, or wait until it has loaded its model; or set the number of tokens yourself."
        yield Problem("nemoclaw_inference.context_window", f"is missing, and no server answers at {url}/v1/models.", remedy)
    elif found and not found["models"] and not chosen.get("model"):
        yield Problem("nemoclaw_inference.model", f"is missing, and {url}/v1/models lists none.", "Set it, or have the server serve one.")


def server(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> Server:
    """The server with the model that was asked for, else the one that it serves."""
    chosen, url = variables["nemoclaw_inference"], _url(variables)
    served = (_found(url, facts) or {}).get("models", [])
    model = chosen.get("model") or (served[0]["id"] if served else LATER)
    window = next((entry.get("max_model_len") or 0 for entry in served if entry["id"] == model), 0)
    return Server(url, model, [], proxied=True, context_window=window)


def _url(variables: dict[str, t.Any]) -> str:
    return variables["nemoclaw_inference"].get("endpoint_url", URL).rstrip("/").removesuffix("/v1")


def port(variables: dict[str, t.Any]) -> int:
    """Where the server is looked for, also where another provider is chosen."""
    url = _url(variables) if variables["nemoclaw_inference"].get("provider") == "vllm" else URL
    return _port(url)


def _port(url: str) -> int:
    """Where an http URL leads; 0 where problems() refuses it."""
    try:
        return urllib.parse.urlsplit(url).port or 80
    except ValueError:
        return 0


def _found(url: str, facts: dict[str, t.Any]) -> dict[str, t.Any] | None:
    return next((one for one in (facts.get("servers") or {}).get("openai", []) if one["port"] == _port(url)), None)
