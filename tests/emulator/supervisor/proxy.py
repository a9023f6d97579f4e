# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workload's way out: an HTTP proxy that asks the policy about every connection and every request it can read."""

from __future__ import annotations

import os
import select
import socket
import ssl
import tempfile
import threading
from urllib.parse import quote

from . import credentials, http1, inference, network, policy

TLS_HANDSHAKE = 0x16


class Denied(Exception):
    """(status, phrase, data) of the answer."""


def denial(error, detail):
    return Denied(403, "Forbidden", {"error": error, "detail": detail})


EMPTY_400 = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """`rules()` → effective policy, `routes()` → inference routes, `certificate(host)` → PEM (chain and key), `log(text)`."""

    def __init__(self, rules, routes, secrets, certificate, log):
        self.rules, self.routes, self.secrets, self.certificate, self.log = rules, routes, secrets, certificate, log
        self.contexts = {}

    def serve_forever(self):
        listener = socket.create_server((network.PROXY_ADDRESS, network.PROXY_PORT), backlog=128)
        while True:
            client, peer = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(client, peer[1]), daemon=True).start()

    def serve(self, client, port):
        try:
            with client, client.makefile("rb") as file:
                while head := http1.read_head(file):
                    if len(head.first) < 3:
                        client.sendall(http1.answer(400, "Bad Request", {"error": "bad_request"}))
                        return
                    method, target = head.first[0], head.first[1]
                    try:
                        if method == "CONNECT":
                            self.tunnel(client, file, target, port)
                            return
                        if not self.forward(client, file, head, port):
                            return
                    except Denied as denied:
                        client.sendall(http1.answer(*denied.args))
                        return
        except (OSError, ValueError, ssl.SSLError):
            return

    # -- the policy ---------------------------------------------------------------------------------------------------------------

    def admitted(self, what, host, port, client_port, shown):
        """Endpoints that admit host:port for the program behind `client_port`, and the addresses to connect to."""
        pid, programs = network.programs_of(client_port)
        actor = f"{programs[0] if programs else '-'}({pid or 0})"
        endpoints = policy.endpoints_for(self.rules(), host, port, programs)
        tunnel = what == "CONNECT"
        request = f"NET:OPEN {actor} -> {host}:{port}" if tunnel else f"HTTP:{what} {actor} -> {what} {shown_url(host, port, shown)}"
        if not endpoints:
            self.note(request, "-", "opa", policy.connection_denied(self.rules(), host, port, programs))
            raise denial("policy_denied", f"{what} {host}:{port}{shown} not permitted by policy")
        found = [endpoint for _name, endpoint in endpoints]
        try:
            addresses = sorted({info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
        except OSError:
            addresses = []
        problem = policy.address_denied(found, host, addresses)
        if problem:
            why = f"{host} resolves to {addresses[0]} which is not in allowed_ips" if addresses else problem
            self.note(request, "-" if tunnel else endpoints[0][0], "ssrf", f"{why}, connection rejected")
            raise denial("ssrf_denied", f"{what} {host}:{port} blocked: {problem}")
        problem = None if tunnel or not policy.enforced(found) else policy.request_denied(found, what, shown)
        if problem:
            self.note(request, endpoints[0][0], "l7", f"FORWARD_L7 deny {what} {host}:{port}{shown} reason={problem}")
        else:
            self.note(request, endpoints[0][0], "opa")
        return endpoints, addresses, programs

    def note(self, request, rule, engine, reason=""):
        """A line of the log about a request (`KIND WHAT`): denied for a reason, or allowed."""
        kind, _blank, what = request.partition(" ")
        verdict, why = ("[MED] DENIED", f" [reason:{reason}]") if reason else ("[INFO] ALLOWED", "")
        self.log(f"{kind} {verdict} {what} [policy:{rule} engine:{engine}]{why}")

    def connect(self, host, port, addresses):
        for address in addresses:
            try:
                upstream = socket.create_connection((address, port), 30)
            except OSError:
                continue
            upstream.settimeout(None)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return upstream
        raise Denied(502, "Bad Gateway", {"error": "upstream_unreachable", "detail": f"connection to {host}:{port} failed"})

    # -- plain HTTP ---------------------------------------------------------------------------------------------------------------

    def forward(self, client, file, head, client_port):
        """One request in absolute form; True when the connection may carry another."""
        method, target, version = head.first
        host, port, path = absolute(target)
        if host is None:
            client.sendall(EMPTY_400)
            return False
        path, mark, query = path.partition("?")
        endpoints, addresses, _programs = self.admitted(method, host, port, client_port, credentials.redacted(path))
        found = [endpoint for _name, endpoint in endpoints]
        path = http1.canonical_path(path, any(endpoint.get("allow_encoded_slash") for endpoint in found))
        if path is None:
            raise Denied(400, "Bad Request", {"error": "invalid_request_target", "detail": "request-target must be canonical"})
        plain_path = credentials.redacted(path)
        if not policy.path_covered(found, plain_path):
            raise denial("policy_denied", f"{method} {host}:{port}{plain_path} did not match an L7 endpoint path")
        problem = policy.request_denied(found, method, plain_path)
        if problem and policy.enforced(found):
            raise denial("policy_denied", f"{method} {host}:{port}{plain_path} denied by L7 policy: {problem}")
        head = self.filled(
            http1.Head([method, path + mark + query, version], head.without("proxy-connection", "proxy-authorization", "connection")),
            host,
            port,
        )
        head.headers.append(("Connection", "close"))
        if credentials.PREFIX.encode() in visible_body(head, file):
            raise Denied(
                500,
                "Internal Server Error",
                {"error": "credential_injection_failed", "detail": "unresolved credential placeholder in request"},
            )
        upstream = self.connect(host, port, addresses)
        with upstream, upstream.makefile("rb") as answers:
            return exchange(client, file, upstream, answers, head)

    def filled(self, head, host, port):
        """The request with secrets in its path and headers, where they belong."""
        try:
            path, mark, query = head.first[1].partition("?")
            shown = credentials.redacted(path)

            def fill(text):
                return self.secrets.fill(text, host, port, shown)

            query = "&".join(
                key + equals + (quote(fill(value), safe="") if credentials.PREFIX in value else value)
                for key, equals, value in (one.partition("=") for one in query.split("&"))
            )
            return http1.Head([head.first[0], fill(path) + mark + query, head.first[2]], [(key, fill(value)) for key, value in head.headers])
        except credentials.Refused as refused:
            status, phrase, error, detail = refused.args
            raise Denied(status, phrase, {"error": error, "detail": detail}) from None

    # -- CONNECT ------------------------------------------------------------------------------------------------------------------

    def tunnel(self, client, file, target, client_port):
        host, _colon, port = target.rpartition(":")
        host, port = host.strip("[]").lower(), int(port)
        if (host, port) == (inference.HOST, 443):
            client.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
            with self.tls(client, host) as inner, inner.makefile("rb") as inner_file:
                inference.serve(inner, inner_file, self.routes, self.log)
            return
        endpoints, addresses, programs = self.admitted("CONNECT", host, port, client_port, "")
        try:
            upstream = self.connect(host, port, addresses)
        except Denied:
            return  # a tunnel that leads nowhere is dropped without a word
        with upstream:
            client.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
            first = client.recv(1, socket.MSG_PEEK)
            found = [endpoint for _name, endpoint in endpoints]
            if not first:
                return
            if first[0] != TLS_HANDSHAKE:
                if any(endpoint.get("protocol") for endpoint in found):
                    self.inspect(client, client.makefile("rb"), upstream, endpoints, host, port, programs)
                else:
                    splice(client, upstream)
                return
            if all(endpoint.get("tls") == "skip" for endpoint in found):
                splice(client, upstream)
                return
            with self.tls(client, host) as inner:
                try:
                    outer = ssl.create_default_context().wrap_socket(upstream, server_hostname=host)
                except (ssl.SSLError, OSError) as error:
                    self.log(f"NET:FAIL [LOW] {host}:{port} TLS to the upstream failed: {error}")
                    inner.settimeout(2)
                    inner.recv(1 << 14)
                    inner.unwrap()
                    return
                with outer:
                    self.inspect(inner, inner.makefile("rb"), outer, endpoints, host, port, programs)

    def inspect(self, client, file, upstream, endpoints, host, port, programs):
        """Requests of a connection whose plain text the proxy sees, one after the other to the same upstream."""
        found = [endpoint for _name, endpoint in endpoints]
        answers = upstream.makefile("rb")
        while head := http1.read_head(file):
            method, (path, mark, query) = head.first[0], head.first[1].partition("?")
            path = http1.canonical_path(path, any(endpoint.get("allow_encoded_slash") for endpoint in found))
            if path is None:
                client.sendall(EMPTY_400)
                return
            head.first[1] = path + mark + query
            path = credentials.redacted(path)
            problem = policy.request_denied(found, method, path) if policy.enforced(found) else None
            why = f"L7_REQUEST deny {method} {host}:{port}{path} reason={problem}" if problem else ""
            self.note(f"HTTP:{method} {method} {shown_url(host, port, path)}", endpoints[0][0], "l7", why)
            if problem:
                client.sendall(http1.answer(403, "Forbidden", explained(endpoints[0][0], method, path, problem, host, port, programs)))
                return
            try:
                head = self.filled(head, host, port)
            except Denied as denied:
                client.sendall(http1.answer(*denied.args))
                return
            if not exchange(client, file, upstream, answers, head):
                return

    def tls(self, client, host):
        """The client's side of an intercepted connection, with a certificate for `host` by the CA the workload trusts."""
        if host not in self.contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.NamedTemporaryFile("w", dir="/run", suffix=".pem") as file:
                os.chmod(file.name, 0o600)
                file.write(self.certificate(host))
                file.flush()
                context.load_cert_chain(file.name)
            context.set_alpn_protocols(["http/1.1"])
            self.contexts[host] = context
        return self.contexts[host].wrap_socket(client, server_side=True)

    def forget_certificates(self):
        self.contexts.clear()


def visible_body(head, file):
    """As much of the body as came with its head: where a placeholder would show that nothing replaces it."""
    size = int(head.get("content-length") or 0)
    if not size or (head.get("expect") or "").lower() == "100-continue":
        return b""
    return file.peek(min(size, 1 << 13))


def absolute(target):
    """(host, port, path) of an absolute-form target; (None, …) when it is not one."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() != "http":
        return None, None, None
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        host, port = authority, "80"
    return host.strip("[]").lower(), int(port), "/" + path if slash else "/"


def shown_url(host, port, path):
    """A request as the log shows it, without its query."""
    return f"http://{host}{'' if port == 80 else f':{port}'}{path}"


def explained(rule, method, path, reason, host, port, programs):
    """The body of a denied request inside a tunnel."""
    lacking = {"type": "rest_allow", "layer": "l7", "method": method, "path": path, "host": host, "port": port}
    common = {"layer": "l7", "protocol": "rest", "method": method, "path": path, "host": host, "port": port}
    binary = {"binary": programs[0]} if programs else {}
    return {
        "error": "policy_denied",
        "policy": rule,
        "rule": f"{method} {path}",
        "detail": reason,
        **common,
        **binary,
        "rule_missing": {**lacking, **binary},
        "next_steps": [],
    }


def exchange(client, file, upstream, answers, head):
    """Passes one request up and its answer down; True when both sides go on."""
    expects = (head.get("expect") or "").lower() == "100-continue"
    upstream.sendall(head.bytes())
    if expects:
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    for piece in http1.body(head, file):
        upstream.sendall(piece)
    while True:
        answer = http1.read_head(answers)
        if answer is None:
            return False  # the client sees what the proxy saw: an end without an answer
        if answer.first[1] == "100" and expects:
            continue
        break
    client.sendall(answer.bytes())
    if answer.first[1] == "101":
        splice(client, upstream, file, answers)
        return False
    for piece in http1.body(answer, answers, head.first[0]):
        client.sendall(piece)
    delimited = answer.get("content-length") is not None or "chunked" in (answer.get("transfer-encoding") or "").lower() or answer.first[1] in ("204", "304")
    return head.keep_alive and answer.keep_alive and (delimited or head.first[0] == "HEAD")


def splice(one, other, *buffered):
    """Copies bytes both ways until one side ends."""
    for file, target in zip(buffered, (other, one)):
        pending = getattr(file, "peek", lambda *_: b"")()
        if pending:
            target.sendall(file.read1(len(pending)))
    while True:
        waiting = [sock for sock in (one, other) if getattr(sock, "pending", int)()] or select.select([one, other], [], [])[0]
        for sock in waiting:
            data = sock.recv(1 << 15)
            if not data:
                return
            (other if sock is one else one).sendall(data)
