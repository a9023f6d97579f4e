# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy with a token that stands before servers of the host's loopback. Pure functions."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem


def problems(variables: dict[str, t.Any], blueprint: Blueprint) -> t.Iterator[Problem]:
    """What is wrong with C(nemoclaw_proxy), whatever the host."""
    return iter(())


def endpoint(variables: dict[str, t.Any], blueprint: Blueprint, backend: str) -> tuple[str, str]:
    """The URL of a backend behind the proxy, on the host's loopback, and the file that holds the token."""
    return "http://127.0.0.1:11435", "/etc/nemoclaw/proxy/token"


def desired(variables: dict[str, t.Any], blueprint: Blueprint, backends: dict[str, str]) -> dict[str, t.Any]:
    """The proxy before the backends, names to URLs: C({resources}); nothing where there is none."""
    return {"resources": []} if backends else {}
