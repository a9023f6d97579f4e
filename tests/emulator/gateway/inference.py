# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inference route of a workspace, and the request that verifies it before it is kept."""

from __future__ import annotations

import http.client
import json
import urllib.parse

from ..errors import NotRecorded, Refusal, invalid, missing, precondition
from ..supervisor import inference
from . import catalogue, checks, effective
from .core import call

NAMES = {False: "inference.local", True: "sandbox-system"}
MAX_TIMEOUT = 600
# (protocol, path, body) tried in this order, those that the provider's type speaks.
PROBES = [
    ("openai_chat_completions", "/v1/chat/completions", {"messages": [{"role": "user", "content": "ping"}], "max_completion_tokens": 32}),
    ("anthropic_messages", "/v1/messages", {"messages": [{"role": "user", "content": "ping"}], "max_tokens": 32}),
    ("openai_responses", "/v1/responses", {"input": "ping", "max_output_tokens": 32}),
    ("openai_completions", "/v1/completions", {"prompt": "ping", "max_tokens": 32}),
    ("openai_embeddings", "/v1/embeddings", {"input": "ping"}),
]


def _key(workspace, system):
    return f"{workspace}/{NAMES[bool(system)]}"


def _provider(gateway, workspace, name):
    provider = gateway.store.get("provider", f"{workspace}/{name}")
    if not provider:
        raise precondition(f"provider '{name}' not found in workspace '{workspace}'")
    if provider["type"] in catalogue.UNTRIED_INFERENCE:
        raise NotRecorded(f"inference by a provider of type {provider['type']}")
    if provider["type"] not in catalogue.INFERENCE:
        raise invalid(f"provider '{name}' has unsupported type '{provider['type']}' for cluster inference (supported: {catalogue.INFERENCE_NAMES})")
    if not provider["credentials"]:
        raise invalid(f"provider '{name}' has no usable API key credential")
    return provider


@call("inference.set")
def set_route(gateway, args):
    checks.workspace(gateway, args["workspace"])
    if not args["model"]:
        raise invalid("model_id is required")
    provider = _provider(gateway, args["workspace"], args["provider"])
    validated = [] if args["no_verify"] else [verified(effective.resolved(gateway, provider, args["model"]), provider["name"])]
    return {**_store(gateway, args, provider["name"], args["model"], args["timeout"]), "validated": validated}


@call("inference.update")
def update_route(gateway, args):
    checks.workspace(gateway, args["workspace"])
    name = NAMES[bool(args["system"])]
    route = gateway.store.get("route", _key(args["workspace"], args["system"]))
    if not route:
        raise missing(
            f"inference route '{name}' is not configured in workspace '{args['workspace']}'; run 'openshell inference set --provider <name> --model <id>'"
        )
    provider = _provider(gateway, args["workspace"], args["provider"] or route["provider"])
    model = args["model"] if args["model"] is not None else route["model"]
    timeout = args["timeout"] if args["timeout"] is not None else route["timeout"]
    validated = [] if args["no_verify"] else [verified(effective.resolved(gateway, provider, model), provider["name"])]
    return {**_store(gateway, args, provider["name"], model, timeout), "validated": validated}


def _store(gateway, args, provider, model, timeout):
    with gateway.lock:
        key = _key(args["workspace"], args["system"])
        version = (gateway.store.get("route", key) or {"version": 0})["version"] + 1
        route = {
            "workspace": args["workspace"],
            "route": NAMES[bool(args["system"])],
            "provider": provider,
            "model": model,
            "version": version,
            "timeout": timeout,
        }
        gateway.store.put("route", key, route)
        return route


@call("inference.get")
def get_route(gateway, args):
    checks.workspace(gateway, args["workspace"])
    return {
        "user": gateway.store.get("route", _key(args["workspace"], False)),
        "system": gateway.store.get("route", _key(args["workspace"], True)),
    }


@call("inference.delete")
def delete_route(gateway, args):
    checks.workspace(gateway, args["workspace"])
    return {"deleted": gateway.store.delete("route", _key(args["workspace"], args["system"]))}


# -- verification ---------------------------------------------------------------------------------------------------------------------


def verified(route, provider):
    """{"url", "protocol"} of the first endpoint that answers a tiny request; refuses with what the endpoint said otherwise."""

    def refused(details, next_steps):
        return precondition(
            f"failed to verify inference endpoint for provider '{provider}' and model '{route['model']}' at '{route['endpoint']}': "
            f"{details}. Next steps: {next_steps}, or retry with '--no-verify' if you want to skip verification"
        )

    if not urllib.parse.urlsplit(route["endpoint"]).hostname:
        raise refused("HTTP request failed: builder error", "confirm the endpoint URL, protocol, credentials, and model identifier")
    problem = None
    for protocol, path, body in PROBES:
        if protocol not in route["protocols"]:
            continue
        url = inference.url(route["endpoint"], path)
        try:
            status, reason, text = _probe(route, path, body)
            if _shape(status, text) and "max_completion_tokens" in body and "max_completion_tokens" in text:
                older = {("max_tokens" if key == "max_completion_tokens" else key): value for key, value in body.items()}
                status, reason, text = _probe(route, path, older)
        except OSError:
            raise refused(
                f"failed to connect to {url}: error sending request for url ({url})",
                "check that the service is running, confirm the base URL and protocol, and verify credentials",
            ) from None
        if status < 300:
            return {"url": url, "protocol": protocol}
        said = f"HTTP {status} {reason}." + (f" Response body: {text}" if text else "")
        said = said.removesuffix(".") if not text else said
        if status in (401, 403) or (status in SHAPE and _about_keys(text)):
            raise refused(f"upstream rejected credentials with {said}", "verify the provider API key and any required auth headers")
        if status == 429:
            raise refused(f"upstream rate-limited the validation request with {said}", "retry later or verify quota/limits on the upstream provider")
        if status >= 500:
            raise refused(f"upstream returned a server error with {said}", "check whether the endpoint is healthy and serving requests")
        if status not in SHAPE:
            raise NotRecorded(f"an endpoint that answers verification with HTTP {status}")
        problem = problem or refused(f"upstream rejected the validation request with {said}", "confirm the provider type, base URL, and model identifier")
    raise problem or Refusal("FAILED_PRECONDITION", "no protocol to verify")


SHAPE = (400, 404, 405, 422)
ABOUT_KEYS = (
    "invalid_api_key",
    "invalid api key",
    "incorrect api key",
    "invalid_authentication",
    "authentication_error",
    "authentication failed",
    "unauthorized",
    "permission_denied",
    "permission denied",
    "missing api key",
)


def _about_keys(text):
    return any(phrase in text.lower() for phrase in ABOUT_KEYS)


def _shape(status, text):
    """Did the endpoint reject the request's form, not its key?"""
    return status in SHAPE and not _about_keys(text)


def _probe(route, path, body):
    answer = inference.request(route, "POST", path, [("content-type", "application/json")], json.dumps(body).encode())
    return answer.status, http.client.responses.get(answer.status, answer.reason), answer.read().decode(errors="replace").strip()[:200]
