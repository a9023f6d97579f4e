# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What sandboxes were refused, out of their logs. Read-only; private to the collection."""

from __future__ import annotations

import re
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell

LINES = 2000  # more are not kept by a gateway
_DENIED = re.compile(
    r"^\[(?P<at>[\d.]+)\] \[sandbox\] \[OCSF ?\] \[ocsf\] \S+ \[\w+\] DENIED (?:(?P<program>/.*?)\(\d+\) -> )?(?P<request>.+?)"
    r" \[policy:(?P<policy>\S+) engine:\w+\] \[reason:(?P<reason>.*)\]$"
)


def denials(client: OpenShell, sandbox: str, since: str) -> list[dict[str, t.Any]]:
    """What a sandbox was refused within C(since), as C(parse) gives it."""
    return parse(client.call("logs", sandbox, "--source", "sandbox", "--since", since, "-n", str(LINES)).stdout)


def parse(log: str) -> list[dict[str, t.Any]]:
    """C({request, program, policy, reason, count, last}) of each kind of request that was refused, the latest first. Pure.

    A program is empty where the log does not name it, a policy where no rule was for that endpoint.
    """
    found: dict[tuple[str, ...], dict[str, t.Any]] = {}
    for line in log.splitlines():
        if not (match := _DENIED.match(line)):
            continue
        request = match["request"] if " " in match["request"] else f"CONNECT {match['request']}"
        policy = "" if match["policy"] == "-" else match["policy"]
        key = (request, match["program"] or "", policy, _short(match["reason"]))
        entry = found.setdefault(key, {**dict(zip(("request", "program", "policy", "reason"), key)), "count": 0, "last": ""})
        entry["count"] += 1
        entry["last"] = max(entry["last"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(match["at"]))))
    return sorted(found.values(), key=lambda entry: entry["last"], reverse=True)


def _short(reason: str) -> str:
    """A reason without the request, which stands beside it, and without the list of a program's ancestors."""
    return reason.rpartition(" reason=")[2].partition(" (ancestors: ")[0]
