# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which OpenShell this collection understands. Pure; private to the collection."""

from __future__ import annotations

import re

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

# up to here a gateway was a cluster in a container, which the programs that came after it know nothing of
CLUSTER_UNTIL = "0.0.37"


def number(version: str) -> tuple[int, ...]:
    """C("0.0.106-dev.3") -> (0, 0, 106)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def refusal(version: str, minimum: str, below: str) -> tuple[str, str] | None:
    """Why a version is refused, and what to do; None when it is understood."""
    wanted = f"nstall one from {minimum} to before {below} (nemoclaw_openshell)."
    if number(version) >= number(below):
        return (
            f"OpenShell {version} is too new: from {below} on it has no inference routes, another configuration, and its sandboxes do not survive the upgrade.",
            f"I{wanted}",
        )
    if number(version) < number(CLUSTER_UNTIL):
        return (
            f"OpenShell {version} is too old: before {CLUSTER_UNTIL} its gateway was a cluster in a container, of which nothing can be carried over.",
            f"Take it down with its own command line (openshell sandbox delete --all; openshell gateway destroy), then i{wanted}",
        )
    if number(version) < number(minimum):
        return f"OpenShell {version} is too old.", f"I{wanted}"
    return None


def check_version(version: str, minimum: str, below: str) -> None:
    """Refuse an OpenShell that this collection does not understand."""
    refused = refusal(version, minimum, below)
    if refused:
        raise ResourceError(*refused)
