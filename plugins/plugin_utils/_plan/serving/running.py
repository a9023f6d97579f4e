# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with an OpenAI-compatible API that runs on the host already, vLLM for instance. Nothing of it is managed."""

from __future__ import annotations

import typing as t
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.serving.server import LATER, Server
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem

URL = "http://127.0.0.1:8000"


def problems(variables: dict[str, t.Any], blueprint: Blueprint) -> t.Iterator[Problem]:
    return iter(())


def host_problems(variables: dict[str, t.Any], blueprint: Blueprint, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """A server that is to run already and does not."""
    url = _url(variables)
    if _found(url, facts) is None and not variables["nemoclaw_inference"].get("model"):
        yield Problem("nemoclaw_inference.provider", f"no server answers at {url}/v1/models.", "Start it first, or set provider to install-vllm.")


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
    return urllib.parse.urlsplit(url).port or 80


def _found(url: str, facts: dict[str, t.Any]) -> dict[str, t.Any] | None:
    wanted = urllib.parse.urlsplit(url).port or 80
    return next((one for one in (facts.get("servers") or {}).get("openai", []) if one["port"] == wanted), None)
