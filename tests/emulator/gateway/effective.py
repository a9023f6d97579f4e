# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sandbox's supervisor is told to enforce: composed policy, credentials by endpoint, inference routes."""

from __future__ import annotations

import hashlib
import json

from ..policy import rules, schema
from . import catalogue
from .providers import profile_of


def base_policy(gateway, sandbox):
    """The policy in force without provider rules: the global one where there is one, else the sandbox's newest revision."""
    over = gateway.global_policy()
    if over:
        return over["policy"]
    return sandbox["revisions"][-1]["policy"] if sandbox["revisions"] else None


def providers_of(gateway, sandbox):
    found = (gateway.store.get("provider", f"{sandbox['workspace']}/{name}") for name in sandbox["spec"]["providers"])
    return [provider for provider in found if provider]


def composed(gateway, sandbox, policy):
    """`policy` with a `_provider_NAME` rule for each attached provider whose profile has endpoints; only where the setting allows it."""
    if policy is None or gateway.global_settings()["values"].get("providers_v2_enabled") != "true":
        return policy
    extra = {}
    for provider in providers_of(gateway, sandbox):
        profile = profile_of(gateway, provider)
        if profile and profile.get("endpoints"):
            name = rules.RESERVED + provider["name"].replace("-", "_")
            extra[name] = {
                "name": name,
                "endpoints": [schema.canonical("endpoint", dict(one)) for one in profile["endpoints"]],
                "binaries": [{"path": path} for path in profile.get("binaries", ())],
            }
    return {**policy, "network_policies": dict(sorted({**policy.get("network_policies", {}), **extra}.items()))} if extra else policy


def credentials(gateway, sandbox, policy):
    """The generation of secrets for a sandbox: {"revision", "secrets"}; None when one credential has no endpoint (all are revoked then)."""
    secrets = {}
    for provider in providers_of(gateway, sandbox):
        profile = profile_of(gateway, provider)
        bound = [
            endpoint
            for rule in (policy or {}).get("network_policies", {}).values()
            for endpoint in rule.get("endpoints", ())
            if endpoint.get("credential_binding", {}).get("provider") == provider["name"]
        ]
        endpoints = [*((profile or {}).get("endpoints") or ()), *bound]
        if not endpoints:
            return None
        secrets.update({key: {"value": gateway.vault.open(sealed), "endpoints": endpoints} for key, sealed in provider["credentials"].items()})
    return {"revision": int(hashlib.sha256(json.dumps(secrets, sort_keys=True).encode()).hexdigest()[:15], 16), "secrets": secrets}


def routes(gateway, workspace):
    """What inference.local serves: [] without a route; None where the route's provider is gone, which leaves supervisors as they are."""
    route = gateway.store.get("route", f"{workspace}/inference.local")
    if not route:
        return []
    provider = gateway.store.get("provider", f"{workspace}/{route['provider']}")
    return [resolved(gateway, provider, route["model"])] if provider and provider["type"] in catalogue.INFERENCE else None


def resolved(gateway, provider, model):
    keys, url_key, default, protocols, auth, headers = catalogue.INFERENCE[provider["type"]]
    name = next((name for name in [*keys, *sorted(provider["credentials"])] if name in provider["credentials"]), None)
    key = gateway.vault.open(provider["credentials"][name]) if name else ""
    return {
        "endpoint": provider["config"].get(url_key) or default,
        "model": model,
        "protocols": protocols,
        "auth": auth,
        "headers": headers,
        "key": key,
    }


def revision(gateway, sandbox):
    """The configuration's revision, a number that changes with it."""
    parts = [base_policy(gateway, sandbox), sandbox["settings"], gateway.global_settings(), sandbox["spec"]["providers"]]
    return int(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:15], 16)
