# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""https://inference.local: requests of known model APIs go to the route's backend with the route's key and model."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import urllib.parse

from . import http1

HOST = "inference.local"
PATTERNS = [
    ("POST", r"/v1/chat/completions", "openai_chat_completions"),
    ("POST", r"/v1/completions", "openai_completions"),
    ("POST", r"/v1/responses", "openai_responses"),
    ("POST", r"/v1/embeddings", "openai_embeddings"),
    ("POST", r"/v1/messages", "anthropic_messages"),
    ("GET", r"/v1/models(?:/[^/]+)?", "model_discovery"),
]
BUFFERED = ("openai_embeddings", "model_discovery")
# Of the caller's headers, those that reach the backend; never the caller's own keys.
PASSED = {
    "content-type",
    "accept",
    "accept-encoding",
    "user-agent",
    "anthropic-version",
    "anthropic-beta",
    "openai-organization",
    "x-model-id",
}
HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
}


class NotAnObject(Exception):
    """The request's body is JSON, but no object that could name a model."""


def protocol(method, path):
    return next((name for verb, pattern, name in PATTERNS if verb == method and re.fullmatch(pattern, path)), None)


def serve(sock, file, routes, log):
    """Answers the requests of one decrypted connection, until it closes or a request is not a model call."""
    while head := http1.read_head(file):
        method, target = head.first[0], head.first[1]
        path = target.partition("?")[0]
        data = http1.whole_body(head, file)
        name = protocol(method, path)
        if name is None:
            log(f"NET:OPEN [MED] DENIED {HOST}:443 connection not allowed by policy: {method} {path}")
            sock.sendall(http1.answer(403, "Forbidden", {"error": "connection not allowed by policy"}))
            return
        log(f"NET:OPEN [INFO] ALLOWED {HOST}:443 {method} {path} (protocol={name})")
        routes_now = routes()
        if not routes_now:
            problem = {"error": "cluster inference is not configured", "hint": "run: openshell cluster inference set --help"}
            sock.sendall(http1.answer(503, "Service Unavailable", problem, close=False))
            continue
        route = next((one for one in routes_now if name in one["protocols"]), None)
        if route is None:
            sock.sendall(http1.answer(400, "Bad Request", {"error": "no compatible inference route available"}, close=False))
            continue
        _forward(sock, route, name, method, path, head, data)


def _forward(sock, route, name, method, path, head, data):
    try:
        upstream = request(route, method, path, head.headers, data)
    except NotAnObject:
        sock.sendall(http1.answer(502, "Bad Gateway", {"error": "inference service error"}, close=False))
        return
    except (OSError, http.client.HTTPException):
        sock.sendall(http1.answer(503, "Service Unavailable", {"error": "inference service unavailable"}, close=False))
        return
    headers = [(key, value) for key, value in upstream.getheaders() if key.lower() not in HOP]
    if name in BUFFERED:
        content = upstream.read()
        sock.sendall(http1.Head(["HTTP/1.1", str(upstream.status), upstream.reason], [*headers, ("content-length", str(len(content)))]).bytes() + content)
        return
    sock.sendall(http1.Head(["HTTP/1.1", str(upstream.status), upstream.reason], [*headers, ("transfer-encoding", "chunked")]).bytes())
    while piece := upstream.read1(1 << 16):
        sock.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
    sock.sendall(b"0\r\n\r\n")


def url(endpoint, target):
    """Where a request of the caller goes: its `/v1` gives way to the base URL's own when that begins or ends with it."""
    base = endpoint.rstrip("/")
    path = urllib.parse.urlsplit(base).path
    return base + (target.removeprefix("/v1") if path.startswith("/v1/") or path.endswith("/v1") else target)


def request(route, method, target, headers, data):
    """The route's answer to a request, with the route's key, headers and model."""
    base = urllib.parse.urlsplit(url(route["endpoint"], target))
    path = base.path + (f"?{base.query}" if base.query else "")
    kind = http.client.HTTPSConnection if base.scheme == "https" else http.client.HTTPConnection
    options = {"context": ssl.create_default_context()} if base.scheme == "https" else {}
    connection = kind(base.hostname, base.port, timeout=120, **options)
    data = with_model(data, route["model"]) if method == "POST" else data
    connection.putrequest(method, path, skip_accept_encoding=True)
    for key, value in headers:
        if key.lower() in PASSED:
            connection.putheader(key, value)
    given = {key.lower() for key, _value in headers}
    for key, value in route["headers"].items():
        if key not in given:
            connection.putheader(key, value)
    connection.putheader(*(("Authorization", f"Bearer {route['key']}") if route["auth"] == "bearer" else (route["auth"], route["key"])))
    if method == "POST":
        connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data if method == "POST" else None)
    return connection.getresponse()


def with_model(data, model):
    """The body with the route's model; a body that is no JSON object passes as it is."""
    try:
        body = json.loads(data)
    except ValueError:
        return data
    if not isinstance(body, dict):
        raise NotAnObject
    body["model"] = model
    return json.dumps(body).encode()
