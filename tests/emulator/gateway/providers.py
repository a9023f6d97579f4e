# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Providers: named sets of credentials and configuration of one type; and the profiles that are custom types."""

from __future__ import annotations

import uuid

from ..errors import NotRecorded, Refusal, invalid, missing, precondition
from . import catalogue, checks
from .core import call


def profile_of(gateway, provider):
    """The profile behind a provider's type, or None."""
    return catalogue.builtin(provider["type"]) or gateway.store.get("profile", f"{provider['workspace']}/{provider['type']}")


def custom_ids(gateway, workspace):
    prefix = workspace + "/"
    return [profile["id"] for profile in gateway.store.all("profile") if gateway.store.get("profile", prefix + profile["id"])]


def shown(provider):
    return {
        "id": provider["id"],
        "name": provider["name"],
        "workspace": provider["workspace"],
        "type": provider["type"],
        "resource_version": provider["resource_version"],
        "credential_keys": sorted(provider["credentials"]),
        "config_keys": sorted(provider["config"]),
        "labels": {},
    }


def _checked(credentials, config):
    for key in credentials:
        if not checks.KEY.fullmatch(key):
            raise invalid(f"provider.credential_handles keys must match ^[A-Za-z_][A-Za-z0-9_]*$; got '{key}'")
    if len(credentials) > 32:
        raise invalid(f"provider.credentials exceeds maximum entries ({len(credentials)} > 32)")
    if len(config) > 64:
        raise invalid(f"provider.config exceeds maximum entries ({len(config)} > 64)")


@call("provider.type")
def provider_type(gateway, args):
    """{"type": canonical type or None, "discovery": variables that --from-existing reads, None for a custom type}"""
    checks.workspace(gateway, args["workspace"])
    canonical = catalogue.known_type(args["type"], custom_ids(gateway, args["workspace"]))
    custom = bool(canonical and gateway.store.get("profile", f"{args['workspace']}/{canonical}"))
    return {"type": canonical, "discovery": None if custom else list(catalogue.DISCOVERY.get(canonical, ()))}


@call("provider.create")
def create(gateway, args):
    checks.workspace(gateway, args["workspace"])
    _checked(args["credentials"], args["config"])
    key = f"{args['workspace']}/{args['name']}"
    with gateway.lock:
        if gateway.store.get("provider", key):
            raise checks.exists("provider already exists")
        provider = {
            "id": str(uuid.uuid4()),
            "name": args["name"],
            "workspace": args["workspace"],
            "type": args["type"],
            "resource_version": 1,
            "credentials": {name: gateway.vault.seal(value) for name, value in args["credentials"].items()},
            "config": args["config"],
        }
        gateway.store.put("provider", key, provider)
    return shown(provider)


@call("provider.get")
def get(gateway, args):
    checks.workspace(gateway, args["workspace"])
    provider = gateway.store.get("provider", f"{args['workspace']}/{args['name']}")
    if not provider:
        raise missing("provider not found")
    return shown(provider)


@call("provider.list")
def list_providers(gateway, args):
    if not args.get("all_workspaces"):
        checks.workspace(gateway, args["workspace"])
    found = [shown(one) for one in gateway.store.all("provider") if args.get("all_workspaces") or one["workspace"] == args["workspace"]]
    return found[args["offset"] : args["offset"] + args["limit"]]


@call("provider.update")
def update(gateway, args):
    """Merges; an empty value removes its key. Every call makes a new version."""
    checks.workspace(gateway, args["workspace"])
    key = f"{args['workspace']}/{args['name']}"
    with gateway.lock:
        provider = gateway.store.get("provider", key)
        if not provider:
            raise missing("provider not found")
        _checked(args["credentials"], args["config"])
        for name, value in args["credentials"].items():
            _set(provider["credentials"], name, gateway.vault.seal(value) if value else "")
        for name, value in args["config"].items():
            _set(provider["config"], name, value)
        provider["resource_version"] += 1
        gateway.store.put("provider", key, provider)
    return shown(provider)


def _set(values, name, value):
    if value:
        values[name] = value
    else:
        values.pop(name, None)


@call("provider.delete")
def delete(gateway, args):
    checks.workspace(gateway, args["workspace"])
    with gateway.lock:
        using = [one["name"] for one in gateway.sandboxes() if one["workspace"] == args["workspace"] and args["name"] in one["spec"]["providers"]]
        if using:
            raise precondition(f"provider '{args['name']}' is attached to sandbox(es): {', '.join(using)}")
        return {"deleted": gateway.store.delete("provider", f"{args['workspace']}/{args['name']}")}


# -- attaching ------------------------------------------------------------------------------------------------------------------------


@call("sandbox.provider.list")
def attached(gateway, args):
    checks.workspace(gateway, args["workspace"])
    sandbox = gateway.sandbox(args["sandbox"], args["workspace"])
    found = (gateway.store.get("provider", f"{args['workspace']}/{name}") for name in sandbox["spec"]["providers"])
    return [shown(provider) for provider in found if provider]


def attachable(gateway, name, workspace):
    provider = gateway.store.get("provider", f"{workspace}/{name}")
    if not provider:
        raise precondition(f"provider '{name}' not found")
    if provider["type"] in catalogue.PROFILES and not catalogue.builtin(provider["type"]):
        raise NotRecorded(f"a provider of the builtin profile {provider['type']} attached to a sandbox")
    return provider


@call("sandbox.provider.attach")
def attach(gateway, args):
    checks.workspace(gateway, args["workspace"])
    with gateway.lock:
        sandbox = gateway.sandbox(args["sandbox"], args["workspace"])
        attachable(gateway, args["provider"], args["workspace"])
        if args["provider"] in sandbox["spec"]["providers"]:
            return {"changed": False}
        _no_shared_keys(gateway, sandbox, args["provider"])
        sandbox["spec"]["providers"].append(args["provider"])
        gateway.save(sandbox)
    return {"changed": True}


def _no_shared_keys(gateway, sandbox, name):
    keys = {}
    for one in [*sandbox["spec"]["providers"], name]:
        provider = gateway.store.get("provider", f"{sandbox['workspace']}/{one}")
        for key in (provider or {}).get("credentials", ()):
            if keys.setdefault(key, one) != one:
                raise NotRecorded(f"two attached providers with the same credential key {key}")


@call("sandbox.provider.detach")
def detach(gateway, args):
    checks.workspace(gateway, args["workspace"])
    with gateway.lock:
        sandbox = gateway.sandbox(args["sandbox"], args["workspace"])
        if args["provider"] not in sandbox["spec"]["providers"]:
            return {"changed": False}
        sandbox["spec"]["providers"].remove(args["provider"])
        gateway.save(sandbox)
    return {"changed": True}


# -- profiles -------------------------------------------------------------------------------------------------------------------------


@call("profile.list")
def list_profiles(gateway, args):
    checks.workspace(gateway, args["workspace"])
    builtin = [
        {"id": name, "name": shown_name, "category": category, "source": "builtin", "scope": "", "endpoints": count, "inference": inference}
        for name, (shown_name, category, count, inference) in catalogue.PROFILES.items()
    ]
    custom = [
        {
            "id": one["id"],
            "name": one["display_name"],
            "category": one["category"],
            "source": "user",
            "scope": "workspace",
            "endpoints": len(one["endpoints"]),
            "inference": one["inference_capable"],
        }
        for one in gateway.store.all("profile")
    ]
    return [*builtin, *custom]


@call("profile.get")
def get_profile(gateway, args):
    checks.workspace(gateway, args["workspace"])
    if args["id"] in catalogue.PROFILES:
        if not catalogue.builtin(args["id"]):
            raise NotRecorded(f"provider profile export {args['id']}")
        return catalogue.builtin(args["id"])
    profile = gateway.store.get("profile", f"{args['workspace']}/{args['id']}")
    if not profile:
        raise missing("provider profile not found")
    return {**profile, "source": "user", "scope": "workspace"}


@call("profile.import")
def import_profiles(gateway, args):
    """Diagnostics by profile; nothing is imported when there is one."""
    checks.workspace(gateway, args["workspace"])
    with gateway.lock:
        problems = []
        for profile in args["profiles"]:
            name = profile["id"]
            if name in catalogue.PROFILES:
                problems.append([name, "id", f"provider profile '{name}' is managed by source 'builtin' and cannot be overwritten"])
            elif gateway.store.get("profile", f"{args['workspace']}/{name}"):
                problems.append([name, "id", f"custom provider profile '{name}' already exists"])
        if not problems:
            for profile in args["profiles"]:
                gateway.store.put("profile", f"{args['workspace']}/{profile['id']}", {**profile, "resource_version": 1})
        return {"problems": problems}


@call("profile.update")
def update_profile(gateway, args):
    checks.workspace(gateway, args["workspace"])
    with gateway.lock:
        profile, key = args["profile"], f"{args['workspace']}/{args['id']}"
        if args["id"] in catalogue.PROFILES:
            raise NotRecorded("an update of a builtin profile")
        kept = gateway.store.get("profile", key)
        if not profile.get("resource_version"):
            return {
                "problems": [
                    [
                        profile["id"],
                        "resource_version",
                        "custom provider profile update requires a non-zero resource_version; export the current profile before editing it",
                    ]
                ]
            }
        if not kept:
            raise missing("provider profile not found")
        if profile["id"] != args["id"]:
            raise NotRecorded("an update of a profile from a file of another id")
        if profile["resource_version"] != kept["resource_version"]:
            raise Refusal("ABORTED", f"resource_version conflict: expected {kept['resource_version']}, got {profile['resource_version']}")
        gateway.store.put("profile", key, {**profile, "resource_version": kept["resource_version"] + 1})
        return {"problems": []}


@call("profile.delete")
def delete_profile(gateway, args):
    checks.workspace(gateway, args["workspace"])
    name = args["id"]
    if name in catalogue.PROFILES:
        raise precondition(f"provider profile '{name}' is managed by source 'builtin' and cannot be deleted")
    with gateway.lock:
        if not gateway.store.get("profile", f"{args['workspace']}/{name}"):
            raise missing("provider profile not found")
        using = [
            sandbox["name"]
            for sandbox in gateway.sandboxes()
            for one in sandbox["spec"]["providers"]
            if (gateway.store.get("provider", f"{args['workspace']}/{one}") or {}).get("type") == name
        ]
        if using:
            raise precondition(f"provider profile '{name}' is in use by sandboxes: {', '.join(using)}")
        gateway.store.delete("profile", f"{args['workspace']}/{name}")
        return {}
