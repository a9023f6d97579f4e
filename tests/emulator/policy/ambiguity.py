# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints that match the same request and disagree on what must have one value: the gateway refuses them."""

from __future__ import annotations

import itertools
import json
import re

from ..errors import precondition

FIELDS = ("allow_encoded_slash", "websocket_credential_rewrite", "request_body_credential_rewrite")


def check(policy):
    """Refuses the policy with every pair of endpoints at once."""
    # the real one walks a hash map: which of two rules it names first is chance
    found = [
        (rule.get("name") or key, index, endpoint)
        for key, rule in sorted(policy.get("network_policies", {}).items(), reverse=True)
        for index, endpoint in enumerate(rule.get("endpoints", ()))
    ]
    said = [text for one, other in itertools.combinations(found, 2) for text in overlap(one, other)]
    if said:
        raise precondition("network endpoint ambiguity validation failed:\n" + "\n".join(said))


def overlap(one, other):
    (name, index, left), (other_name, other_index, right) = one, other
    ports = sorted(set(ports_of(left)) & set(ports_of(right)))
    if not ports or not hosts_meet(left.get("host", ""), right.get("host", "")):
        return
    conflicts = list(
        different(left, right, {"tls": lambda e: "skip" if e.get("tls") == "skip" else "auto", "allowed_ips": lambda e: sorted(e.get("allowed_ips", ()))})
    )
    if inspected(left) and inspected(right) and rank(left) == rank(right):
        values = {
            "protocol": lambda e: e.get("protocol", ""),
            "enforcement": lambda e: "enforce" if e.get("enforcement") == "enforce" else "audit",
            **{field: (lambda e, field=field: e.get(field, False)) for field in FIELDS},
        }
        conflicts += different(left, right, values)
    if conflicts:
        selectors = [f"{e.get('host') or '<any-host>'}:{','.join(map(str, ports_of(e)))}{e.get('path', '')}" for e in (left, right)]
        yield (
            f"network policies '{name}' endpoint[{index}] ({selectors[0]}) and '{other_name}' endpoint[{other_index}] ({selectors[1]}) overlap on "
            f"port(s) {','.join(map(str, ports))} with conflicting metadata: {'; '.join(conflicts)}"
        )


def different(left, right, values):
    for field, value in values.items():
        before, after = value(left), value(right)
        if before != after:
            yield f"{field}={json.dumps(before)} vs {json.dumps(after)}"


def ports_of(endpoint):
    return endpoint.get("ports") or ([endpoint["port"]] if endpoint.get("port") else [])


def inspected(endpoint):
    return any(endpoint.get(key) for key in ("protocol", "allowed_ips", "tls", "credential_binding"))


def rank(endpoint):
    return len(endpoint.get("path", "").replace("*", ""))


def hosts_meet(left, right):
    """Whether two host patterns can be the same host; of two wildcards, whether they have a suffix in common."""
    if not left or not right or left == right:
        return True
    if "*" in left and "*" in right:
        tails = [host.rpartition("*")[2] for host in (left, right)]
        return tails[0].endswith(tails[1]) or tails[1].endswith(tails[0])
    pattern, host = (left, right) if "*" in left else (right, left)
    return "*" in pattern and bool(re.fullmatch(re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^.]*"), host))
