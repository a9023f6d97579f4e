# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies of sandboxes and of the whole gateway, their revisions, and settings."""

from __future__ import annotations

from ..errors import invalid, missing, precondition
from ..policy import merge, rules, schema
from . import checks, effective
from .core import call, now_ms
from .sessions import add_revision

SETTINGS = ("providers_v2_enabled", "ocsf_json_enabled", "agent_policy_proposals_enabled", "proposal_approval_mode")


def _submit(gateway, sandbox, policy):
    newest = sandbox["revisions"][-1] if sandbox["revisions"] else None
    digest = schema.digest(policy)
    if newest and newest["hash"] == digest:
        return {"version": newest["version"], "hash": digest, "changed": False}
    if sandbox["spec"]["policy"] is None:
        sandbox["spec"]["policy"] = policy
    revision = add_revision(sandbox, policy)
    gateway.save(sandbox)
    return {"version": revision["version"], "hash": digest, "changed": True}


def _not_locked(gateway):
    if gateway.global_policy():
        raise precondition("policy is managed globally; delete global policy before sandbox policy update")


@call("policy.set")
def set_policy(gateway, args):
    checks.workspace(gateway, args["workspace"])
    policy = args["policy"]
    with gateway.lock:
        sandbox = gateway.sandbox(args["name"], args["workspace"])
        _not_locked(gateway)
        rules.check_unchanged(sandbox["spec"]["policy"] or {}, policy)
        rules.check(policy)
        rules.check_endpoints(policy, sandbox["spec"]["providers"])
        return _submit(gateway, sandbox, rules.normalized(policy))


@call("policy.update")
def update_policy(gateway, args):
    """Applies operations of `merge`; `dry_run` only shows what would come of them."""
    checks.workspace(gateway, args["workspace"])
    with gateway.lock:
        sandbox = gateway.sandbox(args["name"], args["workspace"])
        if gateway.global_policy():
            raise precondition("policy is managed globally; delete the global policy before using `openshell policy update`")
        base = sandbox["revisions"][-1]["policy"] if sandbox["revisions"] else rules.DEFAULT
        policy, warnings = merge.merged(base, args["operations"])
        rules.check(policy)
        if args["dry_run"]:
            return {"policy": policy, "warnings": warnings}
        return {**_submit(gateway, sandbox, policy), "warnings": warnings}


@call("policy.get")
def get_policy(gateway, args):
    """The effective policy's description, with the policy itself when `payload` is `base` or `full`."""
    checks.workspace(gateway, args["workspace"])
    sandbox = gateway.sandbox(args["name"], args["workspace"])
    if args["rev"]:
        return _revision(sandbox["revisions"], args["rev"], "no policy revision found for this sandbox", active=sandbox["active_version"])
    if not sandbox["revisions"]:
        raise missing("no policy revision found for this sandbox")
    over, newest = gateway.global_policy(), sandbox["revisions"][-1]
    base = effective.base_policy(gateway, sandbox)
    policy = effective.composed(gateway, sandbox, base) if args["payload"] == "full" else base
    found = {
        "scope": "sandbox",
        "sandbox": sandbox["name"],
        "version": over["version"] if over else newest["version"],
        "active_version": over["version"] if over else sandbox["active_version"] or newest["version"],
        "hash": schema.digest(effective.composed(gateway, sandbox, base)),
        "status": "effective",
        "config_revision": effective.revision(gateway, sandbox),
        "policy_source": "global" if over else "sandbox",
    }
    if over:
        found["global_policy_version"] = over["version"]
    return {**found, "policy": policy} if args["payload"] else found


def _revision(revisions, version, problem, active=None):
    revision = next((one for one in revisions if one["version"] == version), None)
    if not revision:
        raise missing(problem)
    found = {"version": version, "hash": revision["hash"], "status": revision["status"], "created_at_ms": revision["created_ms"]}
    if active is not None:
        found["active_version"] = active
    if revision["loaded_ms"] and revision["status"] == "loaded":
        found["loaded_at_ms"] = revision["loaded_ms"]
    if revision.get("error"):
        found["load_error"] = revision["error"]
    return {**found, "policy": revision["policy"]}


@call("policy.list")
def list_policies(gateway, args):
    checks.workspace(gateway, args["workspace"])
    if args.get("global"):
        revisions = (gateway.store.get("policy", "global") or {"revisions": []})["revisions"]
    else:
        revisions = gateway.sandbox(args["name"], args["workspace"])["revisions"]
    return [
        {
            "version": one["version"],
            "hash": one["hash"],
            "status": one["status"],
            "created_ms": one["created_ms"],
            "error": one.get("error", ""),
        }
        for one in reversed(revisions)
    ][: args["limit"]]


@call("policy.status")
def status(gateway, args):
    """How the loading of one revision stands."""
    sandbox = gateway.sandbox(args["name"], args["workspace"])
    revision = next((one for one in sandbox["revisions"] if one["version"] == args["version"]), None)
    if not revision:
        raise missing("no policy revision found for this sandbox")
    return {"status": revision["status"], "active_version": sandbox["active_version"], "error": revision.get("error", "")}


# -- the gateway's own ----------------------------------------------------------------------------------------------------------------


def _bump(gateway):
    settings = gateway.global_settings()
    settings["revision"] += 1
    gateway.store.put("settings", "global", settings)
    return settings["revision"]


@call("policy.global.set")
def set_global(gateway, args):
    rules.check(args["policy"])
    with gateway.lock:
        kept = gateway.store.get("policy", "global") or {"revisions": [], "active": False}
        policy = rules.normalized(args["policy"])
        digest = schema.digest(policy)
        for revision in kept["revisions"]:
            revision["status"] = "superseded"
        kept["revisions"].append(
            {
                "version": len(kept["revisions"]) + 1,
                "policy": policy,
                "hash": digest,
                "status": "loaded",
                "created_ms": now_ms(),
                "loaded_ms": now_ms(),
            }
        )
        kept["active"] = True
        gateway.store.put("policy", "global", kept)
        return {"hash": digest, "revision": _bump(gateway)}


@call("policy.global.get")
def get_global(gateway, args):
    kept = gateway.store.get("policy", "global")
    if not kept or not kept["revisions"] or (not kept["active"] and not args["rev"]):
        raise missing("no global policy revision found")
    return {
        "scope": "global",
        **_revision(kept["revisions"], args["rev"] or kept["revisions"][-1]["version"], "no global policy revision found"),
    }


@call("policy.global.delete")
def delete_global(gateway, _args):
    with gateway.lock:
        kept = gateway.store.get("policy", "global")
        if not kept or not kept["active"]:
            return {"deleted": False}
        kept["active"] = False
        for revision in kept["revisions"]:
            revision["status"] = "superseded"
        gateway.store.put("policy", "global", kept)
        return {"deleted": True, "revision": _bump(gateway)}


# -- settings -------------------------------------------------------------------------------------------------------------------------


@call("settings.get")
def get_settings(gateway, args):
    checks.workspace(gateway, args["workspace"])
    over = gateway.global_settings()
    if args["global"]:
        return {
            "scope": "global",
            "settings_revision": over["revision"],
            "settings": {key: over["values"].get(key, "<unset>") for key in SETTINGS},
        }
    sandbox = gateway.sandbox(args["name"], args["workspace"])
    values = {}
    for key in SETTINGS:
        own, above = sandbox["settings"]["values"].get(key), over["values"].get(key)
        value, scope = (above, "global") if above is not None else (own, "sandbox") if own is not None else ("<unset>", "unset")
        values[key] = {"value": value, "scope": scope}
    policy = effective.composed(gateway, sandbox, effective.base_policy(gateway, sandbox))
    return {
        "sandbox": sandbox["name"],
        "workspace": sandbox["workspace"],
        "config_revision": effective.revision(gateway, sandbox),
        "policy_source": "global" if gateway.global_policy() else "sandbox",
        "policy_hash": schema.digest(policy),
        "settings": values,
    }


@call("settings.set")
def set_setting(gateway, args):
    checks.workspace(gateway, args["workspace"])
    with gateway.lock:
        if args["global"]:
            settings = gateway.global_settings()
            settings["values"][args["key"]] = args["value"]
            settings["revision"] += 1
            gateway.store.put("settings", "global", settings)
            return {"revision": settings["revision"]}
        sandbox = gateway.sandbox(args["name"], args["workspace"])
        _not_managed(gateway, args["key"], "before sandbox update")
        sandbox["settings"]["values"][args["key"]] = args["value"]
        sandbox["settings"]["revision"] += 1
        gateway.save(sandbox)
        return {"revision": sandbox["settings"]["revision"]}


def _not_managed(gateway, key, then):
    if key in gateway.global_settings()["values"]:
        raise precondition(f"setting '{key}' is managed globally; delete the global setting {then}")


def _known(key):
    if key not in SETTINGS:
        raise invalid(f"unknown setting key '{key}'. Allowed keys: {', '.join(SETTINGS)}")


@call("settings.delete")
def delete_setting(gateway, args):
    checks.workspace(gateway, args["workspace"])
    _known(args["key"])
    with gateway.lock:
        if args["global"]:
            settings = gateway.global_settings()
            if args["key"] not in settings["values"]:
                return {"deleted": False}
            del settings["values"][args["key"]]
            settings["revision"] += 1
            gateway.store.put("settings", "global", settings)
            return {"deleted": True, "revision": settings["revision"]}
        sandbox = gateway.sandbox(args["name"], args["workspace"])
        _not_managed(gateway, args["key"], "first")
        if args["key"] not in sandbox["settings"]["values"]:
            return {"deleted": False}
        del sandbox["settings"]["values"][args["key"]]
        sandbox["settings"]["revision"] += 1
        gateway.save(sandbox)
        return {"deleted": True, "revision": sandbox["settings"]["revision"]}
