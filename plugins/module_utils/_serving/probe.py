# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an endpoint serves a model, to whom, and what its user changes when it does not. Private to the collection."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import urlsplit

from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import endpoint as serving
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.endpoint import APIS, Endpoint, Failure

LISTED = 10  # models named in a message
UNSENDABLE = re.compile(r"[^\x21-\x7e]")


class Names(t.NamedTuple):
    """What the user's variables are called; they appear in remedies."""

    url: str
    model: str
    key: str


def probe(endpoint: Endpoint, model: str, api: str, also_at: list[str], names: Names) -> dict[str, t.Any]:
    """The result, see RETURN of endpoint_probe. Never raises Failure: that is in the result."""
    result: dict[str, t.Any] = {
        "ok": False, "failure": "", "detail": "", "remedy": "", "url": endpoint.base, "model": model,
        "api": "", "apis": [], "models": [], "answer": "", "latency_ms": 0, "status": None, "also_at": [],
    }  # fmt: skip
    try:
        if UNSENDABLE.search(endpoint.key):
            raise Failure("unauthorized", "the key holds a blank, a line break or another character that no HTTP header may have")
        result["models"] = sorted(endpoint.models())
        result.update(_answer(endpoint, model, api))
        if not serving.listed(model, result["models"] or [model]) and serving.ignores_names(endpoint, result["api"]):
            raise Failure("model_not_found", f"{endpoint.base} takes any model name but serves only {_some(result['models'])}, not {model}")
        result["also_at"] = [_reach(endpoint, url) for url in also_at]
        for place in result["also_at"]:
            if not place["ok"]:
                raise Failure("loopback_only", place["detail"])
        result["ok"] = True
    except Failure as failure:
        detail = failure.detail
        if failure.kind == "model_not_found" and result["models"] and "serves only" not in detail:
            detail += f". It serves {_some(result['models'])}"
        result.update(failure=failure.kind, status=failure.status, detail=detail, remedy=remedy(failure.kind, endpoint, also_at, names))
    return result


def _answer(endpoint: Endpoint, model: str, api: str) -> dict[str, t.Any]:
    """An answer of the first API that gives one, and all that do. Raises the most telling Failure when none does."""
    answers = {}
    failures = []
    for one in APIS if api == "auto" else [api]:
        try:
            answers[one] = endpoint.ask(one, model)
        except Failure as failure:
            failures.append(failure)
            if failure.kind in ("refused", "tls", "timeout") and not answers:
                break
    if not answers:
        raise next((failure for failure in failures if failure.kind != "not_an_api"), failures[0])
    first, answer = next(iter(answers.items()))
    return {"api": first, "apis": list(answers), "answer": answer.text, "latency_ms": answer.latency_ms, "status": 200}


def _reach(endpoint: Endpoint, url: str) -> dict[str, t.Any]:
    """Whether the server answers at another of the host's addresses too. Any HTTP answer will do."""
    try:
        Endpoint(url, endpoint.key, min(endpoint.timeout, serving.CONNECT_TIMEOUT), endpoint.verify, direct=True).models()
    except Failure as failure:
        here, there = urlsplit(endpoint.base), urlsplit(url)
        if "connection refused" in failure.detail:
            problem = f"the server at {here.hostname}:{here.port} listens on loopback only: sandboxes reach {there.hostname}, where nothing listens"
        else:
            problem = f"the server answers at {here.hostname}, but not at {there.hostname}, where sandboxes reach it: {failure.detail}"
        return {"url": url, "ok": False, "detail": problem}
    return {"url": url, "ok": True, "detail": ""}


def _some(models: list[str]) -> str:
    more = len(models) - LISTED
    return ", ".join(models[:LISTED]) + (f" and {more} more" if more > 0 else "")


def remedy(kind: str, endpoint: Endpoint, also_at: list[str], names: Names) -> str:
    """What the user changes, by the names of the user's variables."""
    where = urlsplit(endpoint.base)
    key = names.key or "the variable of the key"
    bridge = next((urlsplit(url).hostname for url in also_at), None)
    usual = f"{where.scheme}://{where.netloc}/v1"
    if kind == "not_an_api" and endpoint.base != usual and Endpoint(usual, endpoint.key, endpoint.timeout, endpoint.verify).is_api():
        return f"Set {names.url} to {usual}: there an API answers."
    return {
        "unauthorized": f"Set {key} to a key that this endpoint accepts for the model" + ("." if endpoint.key else "; none was sent."),
        "model_not_found": f"Set {names.model} to a model that the endpoint serves, or have it serve this one.",
        "not_an_api": f"Set {names.url} to the base of an OpenAI-compatible API, up to and with its /v1.",
        "refused": f"Start the server, or correct host and port in {names.url}; the request is made from this host.",
        "timeout": f"Check that a firewall lets this host through to {where.hostname}, or give a slow model more time (nemoclaw_inference.probe_timeout).",
        "tls": f"Put the CA of {where.hostname} into /usr/local/share/ca-certificates and run 'update-ca-certificates', or correct {names.url}.",
        "rate_limited": f"Wait, or use another key in {key}: the endpoint limits the rate of this one.",
        "server_error": f"See the log of the server at {where.hostname}; the request reached it and {names.url} and {key} are not the cause.",
        "loopback_only": f"Bind the server to {bridge} or 0.0.0.0 instead of 127.0.0.1; {names.url} stays as it is.",
    }[kind]
