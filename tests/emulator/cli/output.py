# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured output, and policies as text."""

from __future__ import annotations

from . import render


def shown(output, data):
    """Prints `data` when the output format asks for it; False for the table."""
    if output == "json":
        render.dump(data)
        return True
    if output == "yaml":
        import yaml

        print(yaml.safe_dump(data, sort_keys=True, default_flow_style=False), end="")
        return True
    return False


def print_policy(policy):
    """A policy under its heading, keys dimmed."""
    from ..policy.schema import to_yaml

    print(render.heading("Policy:") + "\n")
    for line in to_yaml(policy).splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        text = line.lstrip()
        if text.startswith("- "):
            print(f"  {indent}{render.dim('- ')}{text[2:]}")
            continue
        key, _colon, value = text.partition(":")
        print(f"  {indent}{render.dim(key)}{render.dim(':')}{value}")


def pairs(texts, flag):
    """{key: value} of KEY=VALUE arguments."""
    from ..errors import Failure

    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise Failure(f"{flag} expects KEY=VALUE, got '{text}'")
        found[key] = value
    return found
