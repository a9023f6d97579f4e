# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What OpenShell would refuse of a policy, or store and then fail to load; and what it would take without doing what its author meant.

Said in OpenShell's own words where it has any. C(path) leads to the value in the policy.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import schema_faults
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.endpoints import endpoint_faults
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.fault import Fault, Path
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.overlap import overlap_faults

MAX_BYTES, MAX_PATHS, MAX_PATH = 262_144, 256, 4096
MIN_ID, MAX_ID = 1000, 2_000_000_000
RESERVED = "_provider_"


def faults(policy: dict[str, t.Any], schema: dict[str, t.Any], attached: t.Collection[str] = ()) -> list[Fault]:
    """Everything that is wrong with a whole policy of a sandbox with these providers; C(schema) is the blueprint's schema/policy.yaml.

    Only a policy of the right shape is looked at further.
    """
    shape = [Fault(path, problem, remedy) for path, problem, remedy in schema_faults(policy, schema)]
    if shape:
        return shape
    rules = policy.get("network_policies") or {}
    found = [*_process(policy.get("process") or {}), *_filesystem(policy.get("filesystem_policy") or {})]
    for key, rule in rules.items():
        found += _rule(key, rule, attached)
    return [*found, *overlap_faults(rules), *_size(policy)]


def _process(section: dict[str, str]) -> t.Iterator[Fault]:
    for field, value in section.items():
        if value != "sandbox" and not (value.isascii() and value.isdigit() and MIN_ID <= int(value) <= MAX_ID):
            yield Fault(
                ("process", field),
                f"{field} must be 'sandbox' or a numeric UID/GID in range [{MIN_ID}, {MAX_ID}], got '{value}'",
                "Leave it out, or write sandbox.",
            )


def _filesystem(section: dict[str, t.Any]) -> t.Iterator[Fault]:
    where: Path = ("filesystem_policy",)
    entries = [(kind, index, path) for kind in ("read_only", "read_write") for index, path in enumerate(section.get(kind, []))]
    if len(entries) > MAX_PATHS:
        yield Fault(where, f"too many filesystem paths ({len(entries)} > {MAX_PATHS})", "Name directories instead of what is in them.")
    for kind, index, path in entries:
        if len(path.encode()) > MAX_PATH:
            yield Fault((*where, kind, index), f"path exceeds maximum length ({len(path.encode())} > {MAX_PATH}): {path[:77]}...", "Give a shorter path.")
        elif not path.startswith("/"):
            yield Fault((*where, kind, index), f"path must be absolute (start with '/'): {path}", "Give an absolute path.")
        elif ".." in path.split("/"):
            yield Fault((*where, kind, index), f"path contains '..' traversal component: {path}", "Give the path itself.")
        elif kind == "read_write" and not path.strip("/"):
            yield Fault((*where, kind, index), f"read-write path is overly broad: {path}", "Name the directories that are to be written.")


def _rule(key: str, rule: dict[str, t.Any], attached: t.Collection[str]) -> t.Iterator[Fault]:
    where: Path = ("network_policies", key)
    if key.startswith(RESERVED):
        yield Fault(where, f"network_policies key '{key}' uses reserved '{RESERVED}' prefix for provider composition", "Give the rule another name.")
    for index, binary in enumerate(rule["binaries"]):
        path = binary["path"]
        if not path.startswith("/") or ".." in path.split("/"):
            yield Fault(
                (*where, "binaries", index), f"{path!r} is no absolute path of a program.", "Give the path of the file in the image; `*` and `**` are possible."
            )
    for index, endpoint in enumerate(rule["endpoints"]):
        for fault in endpoint_faults(rule.get("name") or key, endpoint, attached):
            yield fault._replace(path=(*where, "endpoints", index, *fault.path))


def _size(policy: dict[str, t.Any]) -> t.Iterator[Fault]:
    size = len(json.dumps(policy, separators=(",", ":")).encode())
    if size > MAX_BYTES:
        yield Fault((), f"policy serialized size exceeds maximum ({size} > {MAX_BYTES})", "Take rules or presets out.")
