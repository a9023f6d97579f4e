# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a plan that repairs the host itself: swap, firewall, clock. Pure functions."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import network


def home_of(user: str, facts: dict[str, t.Any]) -> str:
    """The home of a user that is there, or that is to be made."""
    return ((facts.get("users") or {}).get(user) or {}).get("home") or f"/home/{user}"


def desired(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """C({wanted, repairs}): every repair as a resource, and the kinds that are allowed. Offboarding takes back also what an earlier plan allowed.

    None depends on facts, so the plan of a host that was repaired is the one that repaired it.
    """
    swap = variables["nemoclaw_swap"]
    repairs = [
        {"kind": "swap", "name": swap["path"], "size_mb": swap["size_mb"], "least_mb": swap["least_mb"]},
        {"kind": "firewall", **network(variables)},
        {"kind": "clock", "name": "system"},
    ]
    return {"wanted": sorted(variables["nemoclaw_preflight_repair"]), "repairs": repairs}
