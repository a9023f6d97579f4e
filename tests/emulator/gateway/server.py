# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's listeners: calls as JSON over mTLS, streams into sandboxes, exposed services, health."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import socketserver
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .. import VERSION
from ..errors import Failure, NotRecorded, Refusal, precondition
from ..supervisor import http1, wire
from . import checks
from .core import CALLS
from .sessions import hello

TLS_HANDSHAKE = 0x16


class Listener(ThreadingHTTPServer):
    """One bound address. With a TLS context, each connection shows its client certificate first - unless it asks for an exposed service."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, gateway, context):
        self.gateway, self.context = gateway, context
        super().__init__(address, Handler)

    def finish_request(self, request, client_address):
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = None
        if self.context:
            request.settimeout(20)
            first = request.recv(1, socket.MSG_PEEK)
            if first and first[0] != TLS_HANDSHAKE:
                service(self.gateway, request)
                return
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except (ssl.SSLError, OSError):
                return
            request.settimeout(None)
            subject = dict(pair[0] for pair in request.getpeercert().get("subject", ()))
            peer = subject.get("commonName")
        try:
            Handler(request, client_address, self, peer)
        finally:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
            request.close()

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, request, client_address, server, peer):
        self.peer = peer
        super().__init__(request, client_address, server)

    def log_message(self, *_arguments):
        pass

    def do_POST(self):
        size = int(self.headers.get("Content-Length") or 0)
        args = json.loads(self.rfile.read(size) or b"{}")
        name = self.path.removeprefix("/")
        try:
            if name.startswith("stream/"):
                self.stream(name.removeprefix("stream/"), args)
                return
            if name not in CALLS:
                raise Refusal("UNIMPLEMENTED", f"unknown call {name}")
            self.answer(200, CALLS[name](self.server.gateway, {**args, "peer": self.peer}))
        except Refusal as refusal:
            self.answer(409, {"code": refusal.code, "message": refusal.message})
        except NotRecorded as refusal:
            self.answer(501, {"message": str(refusal)})
        except (BrokenPipeError, ConnectionResetError):
            pass
        except Exception as error:  # a fault of the emulator: say it to the caller rather than hang up
            import traceback

            traceback.print_exc()
            self.answer(500, {"code": "INTERNAL", "message": f"emulator: {type(error).__name__}: {error}"})

    def answer(self, status, data):
        text = json.dumps(data).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def stream(self, kind, args):
        """Opens a stream to a sandbox's supervisor and passes frames both ways until one side ends."""
        gateway = self.server.gateway
        checks.workspace(gateway, args["workspace"])
        sandbox = gateway.sandbox(args["sandbox"], args["workspace"])
        if kind == "exec":
            args["command"] = checks.command(args)
        upstream = open_stream(gateway, sandbox, kind, args)
        self.send_response_only(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "openshell")
        self.end_headers()
        self.wfile.flush()
        if kind == "exec":
            gateway.log(sandbox["id"], "openshell_server::grpc::sandbox", "ExecSandbox (relay): command started")
        with upstream:
            pump(self.request, upstream)
        self.close_connection = True


def open_stream(gateway, sandbox, kind, args):
    session = gateway.sessions.get(sandbox["id"])
    if sandbox["phase"] != "Ready" or not session or not session.address:
        raise precondition("sandbox is not ready")
    target = "openshell_server::supervisor_session"
    gateway.log(sandbox["id"], target, "supervisor session: relay opened successfully")
    try:
        upstream = hello(session.address, sandbox["token"], **{**args, "for": kind})
    except OSError:
        raise Refusal("UNAVAILABLE", "supervisor is not connected") from None
    gateway.log(sandbox["id"], target, "relay stream: claimed pending relay, bridging")
    return upstream


def pump(one, other):
    """Copies bytes both ways in one thread: a TLS connection must not be read and written by two. An end is passed on once both are dry."""
    open_sides = [one, other]
    while open_sides:
        ready = [sock for sock in open_sides if getattr(sock, "pending", int)()] or select.select(open_sides, [], [], 30)[0]
        for sock in ready:
            try:
                data = sock.recv(1 << 15)
                target = other if sock is one else one
                if data:
                    target.sendall(data)
                    continue
            except OSError:
                return
            if sock is other:
                return
            open_sides.remove(sock)
            try:
                other.shutdown(socket.SHUT_WR)
            except OSError:
                return


def service(gateway, sock):
    """An exposed service, asked for in plain HTTP by its host name."""
    sock.settimeout(None)
    head = http1.read_head(sock.makefile("rb", buffering=0))
    host = (head.get("host") or "").partition(":")[0] if head else ""
    match = re.fullmatch(r"(\w[\w-]*?)--([a-z0-9-]+?)(?:--([a-z0-9-]+))?\.openshell\.localhost", host)
    found = match and next(
        (
            one
            for one in gateway.store.all("service")
            if one["workspace"] == match.group(1) and one["sandbox"] == match.group(2) and (one["service"] or None) == match.group(3)
        ),
        None,
    )
    if not found:
        sock.sendall(http1.answer(404, "Not Found", {"error": "service endpoint not found"}))
        return
    try:
        sandbox = gateway.sandbox(found["sandbox"], found["workspace"])
        upstream = open_stream(gateway, sandbox, "tcp", {"port": found["port"]})
        if (wire.receive(upstream) or (None,))[0] != wire.HELLO:
            raise precondition("nothing listens there")
    except Refusal as refusal:
        sock.sendall(http1.answer(502, "Bad Gateway", {"error": refusal.message}))
        return
    wire.send(upstream, wire.DATA, head.bytes())
    threading.Thread(target=_up, args=(sock, upstream), daemon=True).start()
    while (frame := wire.receive(upstream)) and frame[1]:
        sock.sendall(frame[1])


def _up(sock, upstream):
    try:
        while data := sock.recv(1 << 15):
            wire.send(upstream, wire.DATA, data)
    except OSError:
        pass


class Health(BaseHTTPRequestHandler):
    def log_message(self, *_arguments):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        healthy = {"status": "healthy", "version": VERSION, "checks": {"database": {"status": "healthy", "latency_ms": 0}}}
        body = b"" if path == "/healthz" else json.dumps(healthy).encode() if path in ("/readyz", "/health") else None
        self.send_response_only(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")


class HealthListener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = allow_reuse_address = True


def tls_context(settings):
    """The server's side of mTLS from cert_path, key_path, client_ca_path."""
    for name, item in (("cert_path", "certificates"), ("key_path", "private key"), ("client_ca_path", "certificates")):
        with open(settings[name], "rb") as file:
            if b"-----BEGIN" not in file.read():
                raise Failure(f"TLS error: no {item} found in file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings["cert_path"], settings["key_path"])
    if settings.get("client_ca_path"):
        context.load_verify_locations(settings["client_ca_path"])
        context.verify_mode = ssl.CERT_REQUIRED
    return context
