# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the configurations of all agents have in common. Pure functions."""

from __future__ import annotations

import copy
import json
import re
import shlex
import typing as t

ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
REFERENCE = re.compile(r"^\$\{[A-Z_][A-Z0-9_]*\}$")
SECRET_KEY = re.compile(r"(token|secret|password|passphrase|apikey|api_key|privatekey|private_key)$", re.IGNORECASE)

Problem = tuple[str, str, str]


def canonical_json(value: t.Any) -> str:
    """JSON text that is the same for equal values: sorted keys, two blanks, one newline at the end."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def env_file(env: dict[str, t.Any]) -> str:
    """Shell assignments, sorted, each value quoted so that sourcing the file yields it byte for byte."""
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in sorted(env.items()))


def merged(base: dict, over: dict) -> dict:
    """A deep copy of base with over laid on it: mappings merge, anything else is replaced."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(result.get(key), dict) and isinstance(value, dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def leaves(value: t.Any, path: str = "") -> t.Iterator[tuple[str, t.Any]]:
    """Every (dotted path, value) of a nested structure that is neither a mapping nor a list; an empty one counts as a leaf."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    if not items:
        yield path, value
    for key, inner in items:
        yield from leaves(inner, f"{path}.{key}" if path else str(key))


def model_errors(settings: dict, manifest: dict) -> list[Problem]:
    """Problems of model, context_window, max_tokens and api. The numbers' types were checked by the schema of the variables."""
    problems: list[Problem] = []
    window = settings.get("context_window") or manifest["context_window"]
    tokens = settings.get("max_tokens") or manifest["max_tokens"]
    least = manifest["context_window_min"]
    api = settings.get("api") or next(iter(manifest["apis"]))
    if not settings.get("model"):
        problems.append(("model", "no model is given", "name the model that the endpoint serves"))
    if window < least:
        problems.append(
            (
                "context_window",
                f"{window} tokens do not hold {manifest['display_name']}'s own prompt",
                f"serve the model with at least {least} tokens, or leave the variable out for {manifest['context_window']}",
            )
        )
    elif tokens >= window:
        problems.append(("max_tokens", f"{tokens} is not less than the context window of {window}", f"set it below {window}, for example {least // 8}"))
    if api not in manifest["apis"]:
        problems.append(("api", f"{manifest['display_name']} does not speak '{api}'", "use one of " + ", ".join(manifest["apis"])))
    return problems


def env_errors(settings: dict, manifest: dict) -> list[Problem]:
    """Problems of env: names that no shell takes, names that belong to the agent, secrets in clear text."""
    problems: list[Problem] = []
    for name, value in sorted((settings.get("env") or {}).items()):
        variable = f"env.{name}"
        if not ENV_NAME.match(name):
            problems.append((variable, "is no name of an environment variable", "use letters, digits and underscores, no digit first"))
        elif name in manifest["env_reserved"]:
            problems.append((variable, f"is set by {manifest['display_name']}'s own start", "leave it out"))
        elif SECRET_KEY.search(name):
            problems.append((variable, "looks like a secret, and this file is not a place for one", "give it as a credential of a channel or tool"))
        elif isinstance(value, (dict, list)) or "\0" in str(value):
            problems.append((variable, "is no single line of text or number", "give a string"))
    return problems


def config_errors(settings: dict, manifest: dict) -> list[Problem]:
    """Problems of config, the user's own settings: ones that the collection depends on, secrets in clear text."""
    problems: list[Problem] = []
    for path, value in leaves(settings.get("config") or {}):
        variable = f"config.{path}"
        owner = next((key for key in manifest["config_reserved"] if f"{path}.".startswith(f"{key}.") or f"{key}.".startswith(f"{path}.")), None)
        if owner and value != {}:
            problems.append((variable, f"{owner} is set by the collection", "leave it out"))
        elif isinstance(value, str) and value and SECRET_KEY.search(path.rsplit(".", 1)[-1]) and not REFERENCE.match(value):
            problems.append((variable, "holds a secret in clear text", 'write "${NAME}" and give NAME as a credential'))
    return problems
