# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway refuses in a policy, and what a running sandbox lets change."""

from __future__ import annotations

import json
import posixpath

from ..errors import invalid, precondition
from . import ambiguity

MIN_ID, MAX_ID, MAX_PATHS, MAX_PATH, MAX_SIZE = 1000, 2_000_000_000, 256, 4096, 262_144
DEFAULT = {
    "version": 1,
    "filesystem_policy": {
        "include_workdir": True,
        "read_only": ["/usr", "/lib", "/proc", "/dev/urandom", "/app", "/etc", "/var/log"],
        "read_write": ["/tmp", "/dev/null"],
    },
    "landlock": {"compatibility": "best_effort"},
}
BASELINE_READ_ONLY = ("/usr", "/lib", "/etc", "/app", "/var/log", "/proc", "/dev/urandom")
BASELINE_READ_WRITE = ("/tmp",)
RESERVED = "_provider_"


def violations(policy):
    found = []
    for field in ("run_as_user", "run_as_group"):
        value = policy.get("process", {}).get(field)
        if value and value != "sandbox" and not (value.isdigit() and MIN_ID <= int(value) <= MAX_ID):
            found.append(f"{field} must be 'sandbox' or a numeric UID/GID in range [{MIN_ID}, {MAX_ID}], got '{value}'")
    files = policy.get("filesystem_policy", {})
    paths = [*files.get("read_only", ()), *files.get("read_write", ())]
    if len(paths) > MAX_PATHS:
        found.append(f"too many filesystem paths ({len(paths)} > {MAX_PATHS})")
    for path in paths:
        if len(path) > MAX_PATH:
            found.append(f"path exceeds maximum length ({len(path)} > {MAX_PATH}): {path[:77]}...")
            continue
        if not path.startswith("/"):
            found.append(f"path must be absolute (start with '/'): {path}")
        if ".." in path.split("/"):
            found.append(f"path contains '..' traversal component: {path}")
    found += [f"read-write path is overly broad: {path}" for path in files.get("read_write", ()) if not path.rstrip("/")]
    for key, rule in policy.get("network_policies", {}).items():
        for endpoint in rule.get("endpoints", ()):
            found += _endpoint(rule.get("name") or key, endpoint)
    return found


def _endpoint(name, endpoint):
    host = endpoint.get("host", "")
    if host.startswith(("*.", "**.")) and host.count(".") < 2:
        yield f"network policy '{name}': TLD wildcard '{host}' is not allowed; use subdomain wildcards like '*.example.com' instead"
    first, *rest = host.split(".")
    if host in ("*", "**") or ("**" in first and first != "**") or any("*" in label and label != "*" for label in rest):
        yield (
            f"network policy '{name}': invalid host wildcard '{host}'; middle DNS label wildcards must be the entire label '*' and recursive "
            "'**' is only allowed as the entire first label"
        )
    signing = endpoint.get("credential_signing")
    if signing:
        if signing not in ("sigv4", "sigv4:body", "sigv4:no_body"):
            yield (
                f"network policy '{name}': endpoint '{host}' has unrecognized credential_signing value '{signing}' "
                "(expected sigv4, sigv4:body, or sigv4:no_body)"
            )
        if not endpoint.get("signing_service"):
            yield f"network policy '{name}': endpoint '{host}' has credential_signing set but signing_service is empty"
        if endpoint.get("request_body_credential_rewrite"):
            yield (
                f"network policy '{name}': endpoint '{host}' has both credential_signing and request_body_credential_rewrite set; these options "
                "are mutually exclusive"
            )


def check_size(policy):
    """Refuses a policy that is too large for a new sandbox; one that is set on a running sandbox is not measured."""
    size = len(json.dumps(policy, separators=(",", ":")))
    if size > MAX_SIZE:
        raise invalid(f"policy serialized size exceeds maximum ({size} > {MAX_SIZE})")


def check(policy):
    """Refuses an unsafe policy with every reason at once."""
    reserved = [key for key in policy.get("network_policies", {}) if key.startswith(RESERVED)]
    if reserved:
        raise invalid(
            f"network_policies key '{reserved[0]}' uses reserved '{RESERVED}' prefix for provider composition; use 'openshell policy get "
            "<sandbox> --base' for a round-trippable base policy, or use 'openshell policy get <sandbox> --full' to inspect the effective "
            "policy including provider entries"
        )
    found = violations(policy)
    if found:
        raise invalid("policy contains unsafe content: " + "; ".join(found))


def check_endpoints(policy, attached):
    """Endpoints must not contradict each other; `credential_binding` must name a provider that is attached, and signing needs one with keys."""
    ambiguity.check(policy)
    for rule in policy.get("network_policies", {}).values():
        for endpoint in rule.get("endpoints", ()):
            provider = endpoint.get("credential_binding", {}).get("provider")
            if provider and provider not in attached:
                raise precondition(f"credential_binding references provider '{provider}', but that provider is not attached to the sandbox")
            if endpoint.get("credential_signing") and not attached:
                raise precondition(
                    f"credential_signing endpoint '{endpoint.get('host', '')}:{endpoint.get('port', 0)}' has no resolvable AWS credential source; attach an "
                    "endpoint-bearing provider profile that declares AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and covers this endpoint, or set "
                    "credential_binding.provider to an attached endpointless profile that declares those credentials"
                )


def check_unchanged(baseline, new):
    """Refuses changes of what is applied when a sandbox starts."""
    old_files, new_files = baseline.get("filesystem_policy"), new.get("filesystem_policy")
    if old_files is not None:
        if new_files is None:
            raise invalid("filesystem policy cannot be removed on a live sandbox")
        if old_files["include_workdir"] != new_files["include_workdir"]:
            raise invalid("filesystem include_workdir cannot be changed on a live sandbox")
        for kind in ("read_only", "read_write"):
            for path in old_files.get(kind, ()):
                if path not in new_files.get(kind, ()):
                    raise invalid(f"filesystem {kind} path '{path}' cannot be removed on a live sandbox")
    for name in ("landlock", "process"):
        if baseline.get(name) != new.get(name):
            raise invalid(f"{name} policy cannot be changed on a live sandbox (applied at startup)")


def normalized(policy):
    """Paths without doubled or trailing slashes, as the gateway stores them."""
    files = policy.get("filesystem_policy")
    if files:
        for kind in ("read_only", "read_write"):
            if kind in files:
                files[kind] = [posixpath.normpath(path) if path.startswith("/") else path for path in files[kind]]
    return policy


def enriched(policy, exists, gpus=(), default=False):
    """The policy with the paths a workload needs; the same object when nothing is missing. `exists(path)`: is it in the container; `gpus`: those of its GPUs.

    Only in the default policy does a path move to where it may be written; in a policy that somebody gave, that would take one away.
    """
    files = policy.get("filesystem_policy") or {"include_workdir": True}
    read_only, read_write = list(files.get("read_only", ())), list(files.get("read_write", ()))
    more_only, more_write = [], [path for path in gpus if path not in read_write]
    if policy.get("network_policies"):
        more_only = [path for path in BASELINE_READ_ONLY if path not in read_only + read_write + more_write and exists(path)]
        more_write += [path for path in BASELINE_READ_WRITE if path not in read_only + read_write and exists(path)]
    moved = [path for path in more_write if path in read_only]
    if (not more_only and not more_write) or (moved and not default):
        return policy
    read_only = [path for path in read_only if path not in moved]
    files = {**files, "read_only": read_only + more_only, "read_write": read_write + more_write}
    order = ("version", "filesystem_policy", "landlock", "process", "network_policies", "network_middlewares")
    changed = {**policy, "filesystem_policy": files}
    return {name: changed[name] for name in order if name in changed}
