# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed already, by us or by others. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.versions import refusal
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import result, version

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import Facts, Results


def openshell(facts: Facts, limits: Facts) -> Results:
    """Programs found must be of the supported range; that there are none yet is no fault."""
    least, below = limits["openshell_min"], limits["openshell_max"]
    results = []
    for name, found in sorted(facts["openshell"].items()):
        if not found["path"]:
            continue
        number = version(found["version"])
        ok = bool(number) and (not least or number >= version(least)) and (not below or number < version(below))
        detail = f"{found['path']} is {found['version'] or 'of an unknown version'}"
        remedy = f"OpenShell from {least or 'any'} to below {below or 'any'} is supported: remove it, or install elsewhere (nemoclaw_openshell.bin_dir)."
        refused = refusal(found["version"], least, below) if number and least and below else None
        # what cannot even be run is replaced by an installation; what can may have a gateway that is in use
        check = name.replace("-", "_") + ("" if number else "_unusable")
        results += result(check, ok, "error", detail, f"{refused[0]} {remedy}" if refused else remedy)
    return results


def existing(facts: Facts, limits: Facts) -> Results:
    found = ", ".join(one["what"] for one in facts["existing"])
    remedy = "They are left alone; where both want the same port or gateway name, give ours others (nemoclaw_gateway)."
    return result("existing", not found, "info", f"installations of others: {found}" if found else "no other NemoClaw or OpenShell", remedy)


def network_name(facts: Facts, limits: Facts) -> Results:
    """A Docker network of the planned name must be the gateway's own."""
    name = limits["network"]["name"]
    if not name:
        return []
    found = facts["docker"].get("networks", {}).get(name)
    foreign = found and found["gateway_of"] != name
    state = "is there, and not ours" if foreign else "is ours" if found else "is not there yet"
    remedy = f"Set nemoclaw_gateway.name to another name, or run 'docker network rm {name}'."
    return result("network_name", not foreign, "error", f"the Docker network {name} {state}", remedy)
