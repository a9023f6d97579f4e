# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags of C(vllm serve), judged by what its own parser knows. Pure functions."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import nearest

# what the plan sets, or what would show a secret to all that can see a command
OURS = {
    "--host": "the server listens where sandboxes reach it",
    "--port": "set nemoclaw_vllm.port",
    "--uds": "the server listens where sandboxes reach it",
    "--model": "set nemoclaw_vllm.model",
    "--revision": "the blueprint pins it with the model",
    "--config": "give the flags here",
    "--api-key": "the host makes a key of its own",
    "--hf-token": "set nemoclaw_credentials.HF_TOKEN",
    "--max-model-len": "set nemoclaw_vllm.max_model_len",
    "--gpu-memory-utilization": "set nemoclaw_vllm.gpu_memory_utilization",
    "--tensor-parallel-size": "set nemoclaw_vllm.gpus",
    "-tp": "set nemoclaw_vllm.gpus",
}
Fault = tuple[str, str, str]  # the word, what is wrong with it, what to do


def words(flags: dict[str, t.Any]) -> list[str]:
    """Flags by their names, without dashes, as arguments: true for one that takes no value, a mapping as JSON."""
    found: list[str] = []
    for name, value in flags.items():
        found.append(f"--{name}")
        if value is not True:
            found.append(json.dumps(value, separators=(",", ":")) if isinstance(value, (dict, list)) else str(value))
    return found


def served_name(arguments: list[str], default: str) -> str:
    """The name that the server answers to; arguments may change it."""
    for word, after in zip(arguments, [*arguments[1:], ""]):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == "--served-model-name":
            return value if equals else after
    return default


def faults(arguments: list[str], known: dict[str, dict[str, t.Any]] | None) -> t.Iterator[Fault]:
    """What is wrong with arguments. C(known) maps each flag of the parser to C(values), C(choices) and C(type); without it only what is ours is refused."""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            yield word, "belongs to no flag.", "Give each flag with its value behind it."
            continue
        name, equals, value = word.partition("=")
        flag = name.partition(".")[0].replace("_", "-")  # a key of a flag that takes JSON: --flag.key
        values = [value] if equals else []
        takes = (known or {}).get(flag, {}).get("values", 1)
        while rest and not _is_flag(rest[0]) and not equals and (known is None or takes == "+" or len(values) < int(takes if takes != "?" else 1)):
            values.append(rest.pop(0))
        if flag in OURS:
            yield name, "is set by the plan.", f"Leave it out: {OURS[flag]}."
        elif known is not None:
            yield from _judged(name, flag, values, known)


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not word.lstrip("-").replace(".", "", 1).isdigit()


def _judged(name: str, flag: str, values: list[str], known: dict[str, dict[str, t.Any]]) -> t.Iterator[Fault]:
    if flag not in known:
        close = nearest(flag, known)
        yield name, "is no flag of vLLM.", close if close.startswith("Did") else "See `vllm serve --help=all` of its version."
        return
    about = known[flag]
    takes = about.get("values", 1)
    if takes == 0 and values:
        yield name, "takes no value.", f"Leave {values[0]!r} out."
    elif takes in (1, "+") and not values:
        yield name, "has no value.", "Give one behind it."
    elif "." in name:
        return
    for value in values if takes != 0 else []:
        if about.get("choices") and value not in about["choices"]:
            yield name, f"{value!r} is not possible.", nearest(value, about["choices"])
        elif about.get("type") and not _number(value, about["type"]):
            yield name, f"{value!r} is no number.", "Give a number."


def _number(value: str, kind: str) -> bool:
    try:
        float(value) if kind == "float" else int(value)
    except ValueError:
        return False
    return True
