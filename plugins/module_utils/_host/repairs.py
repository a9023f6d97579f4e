# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repairs of a host that a plan names. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.clock import Clock
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.firewall import Firewall
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.swap import Swap
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Resource

KINDS: dict[str, type[Resource]] = {"swap": Swap, "firewall": Firewall, "clock": Clock}


def resources(repairs: list[dict[str, t.Any]]) -> list[Resource]:
    """Each C({kind, name, …}) as a resource."""
    return [KINDS[repair["kind"]](repair) for repair in repairs]


def wanted(plan: dict[str, t.Any]) -> list[Resource]:
    """Those that a plan allows; a kept plan of an earlier version has none."""
    found = plan.get("repair") or {"wanted": [], "repairs": []}
    return resources([repair for repair in found["repairs"] if repair["kind"] in found["wanted"]])
