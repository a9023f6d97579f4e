# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenClaw's configuration from the settings of one sandbox. Pure functions.

settings, all but model optional:
    model (str)              id the endpoint serves, written as it is: the agent reports it, and takes a new one in without a restart
    context_window (int)     tokens; max_tokens (int): of one answer
    timeout (int)            seconds a request to the model may take; OpenClaw's own is about 120
    api (str)                openai-completions | openai-responses | anthropic-messages
    dashboard_port (int)     the host's port in front of the dashboard
    allowed_origins ([str])  further origins a browser may open the dashboard from, such as https://agents.example.org
    config (dict)            OpenClaw's own settings, merged over the generated ones
    env ({str: str})         environment of every command in the sandbox
manifest: blueprint/agents/openclaw/manifest.yaml, parsed.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from . import settings as common

PROVIDER = "inference"
SECRETS = "nemoclaw"


def errors(settings: dict, manifest: dict) -> list[tuple[str, str, str]]:
    """What is wrong with the settings: (key, dotted; problem; remedy) each. Empty when files() will work."""
    return [
        *common.model_errors(settings, manifest),
        *common.env_errors(settings, manifest),
        *common.config_errors(settings, manifest),
        *_origin_errors(settings),
    ]


def config(settings: dict, manifest: dict) -> dict:
    """The content of openclaw.json. It holds no secret: the gateway's token is a reference to a file that the sandbox makes."""
    api = manifest["apis"][settings.get("api") or next(iter(manifest["apis"]))]
    model = settings["model"]
    generated = {
        "agents": {"defaults": {"model": {"primary": f"{PROVIDER}/{model}"}}},
        "gateway": {
            "auth": {"mode": "token", "token": {"source": "file", "provider": SECRETS, "id": "value"}},
            "bind": "loopback",
            "controlUi": {"allowedOrigins": _origins(settings, manifest), "enabled": True},
            "mode": "local",
            "port": manifest["port"],
        },
        "models": {
            "catalogRefresh": {"enabled": False},
            "mode": "merge",
            "providers": {
                PROVIDER: {
                    "api": api["name"],
                    "apiKey": "unused",
                    "baseUrl": api["base_url"],
                    "models": [
                        {
                            "contextWindow": settings.get("context_window") or manifest["context_window"],
                            "id": model,
                            "maxTokens": settings.get("max_tokens") or manifest["max_tokens"],
                            "name": model,
                        }
                    ],
                    **({"timeoutSeconds": settings["timeout"]} if settings.get("timeout") else {}),
                }
            },
        },
        "secrets": {"providers": {SECRETS: {"source": "file", "path": manifest["token_file"], "mode": "singleValue"}}},
        "update": {"checkOnStart": False},
    }
    return common.merged(generated, settings.get("config") or {})


def files(settings: dict, manifest: dict) -> list[dict]:
    """The files to write into the sandbox: {name, path, mode, content, restart} each; restart: the agent must be restarted to see a change."""
    content = {
        "config": lambda: common.canonical_json(config(settings, manifest)),
        "env": lambda: common.env_file(common.merged(manifest["env"], settings.get("env") or {})),
    }
    return [{**{key: item[key] for key in ("name", "path", "mode", "restart")}, "content": content[item["name"]]()} for item in manifest["files"]]


def _origins(settings: dict, manifest: dict) -> list[str]:
    port = settings.get("dashboard_port") or manifest["port"]
    own = [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
    return own + [origin for origin in settings.get("allowed_origins") or [] if origin not in own]


def _origin_errors(settings: dict) -> list[tuple[str, str, str]]:
    problems = []
    for index, origin in enumerate(settings.get("allowed_origins") or []):
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in origin or origin != f"{parts.scheme}://{parts.netloc}":
            problems.append((f"allowed_origins.{index}", f"'{origin}' is no origin", "write scheme, host and port only, such as https://agents.example.org"))
    return problems
