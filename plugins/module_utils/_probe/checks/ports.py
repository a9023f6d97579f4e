# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds the ports. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import result
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.listeners import STALE_PROXY

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import Facts, Results


def ports(facts: Facts, limits: Facts) -> Results:
    """The ports of the plan must be free, or held by their own units; the units of another gateway of this host are others'."""
    own = tuple(port["ours"] for port in facts["ports"] if port["ours"])
    return [one for port in facts["ports"] for one in _planned(port, own)]


def services(facts: Facts, limits: Facts) -> Results:
    """Ports that services of an agent usually have: not planned here, so who holds one is only told."""
    planned = {port["port"] for port in facts["ports"]}
    results = []
    for port in facts["services"]:
        if port["port"] not in planned:
            held = ", ".join(dict.fromkeys(who(holder) for holder in port["listeners"]))
            results += result(f"port_{port['port']}", True, "info", f"{port['port']} ({port['purpose']}) is {f'held by {held}' if held else 'free'}")
    return results


def _planned(port: Facts, own_units: tuple[str, ...]) -> Results:
    name = f"port_{port['port']}"
    where = f"{port['address']}:{port['port']}" + (f" ({port['purpose']})" if port["purpose"] else "")
    for holder in port["listeners"]:
        own = holder["unit"].startswith(own_units)
        if own and holder["unit"].startswith(port["ours"]):
            continue
        detail = f"{where} is held by {who(holder)} on {holder['address']}"
        change = f"or set {port['variable']} to a free port" if port["variable"] else "or choose another port"
        if own:
            return result(name, False, "warning", detail, "Another unit of this plan holds it: fine when this run moves that one elsewhere.")
        return result(name, False, "error", detail, f"{stop(holder, port['port'])} {change}.")
    return result(name, True, "error", f"{where} is {'held by its own unit' if port['listeners'] else 'free'}")


def who(holder: Facts) -> str:
    """A listener, named."""
    return f"{holder['process'] or 'another program'} (pid {holder['pid'] or '?'}, user {holder['user']}{', ' if holder['unit'] else ''}{holder['unit']})"


def stop(holder: Facts, port: int) -> str:
    """What a person can do about it; an unfinished sentence."""
    if holder["process"] == "docker-proxy":
        return f"Find the container with 'docker ps --filter publish={port}' and stop it,"
    if holder["process"] == STALE_PROXY:
        return f"Stop it ('kill {holder['pid']}') and do not use NemoClaw's own command line beside the fleet's, which starts it again,"
    if holder["unit"]:
        return f"Stop it ('systemctl disable --now {holder['unit']}')"
    return f"Stop it ('kill {holder['pid']}')" if holder["pid"] else f"Find its program with 'ss -ltnp sport = :{port}' as root and stop it,"
