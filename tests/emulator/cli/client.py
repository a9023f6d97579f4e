# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls and streams to the gateway over mTLS, and how it says that it cannot reach it."""

from __future__ import annotations

import json
import os
import socket
import ssl
import urllib.parse

from ..errors import Failure, NotRecorded, Refusal
from ..supervisor import http1

STREAM_LOST = Refusal("UNAVAILABLE", "exec relay closed before the command reported an exit status")


class Unreachable(Exception):
    """No connection; `causes` are the innermost ones."""

    def __init__(self, *causes):
        super().__init__(causes)
        self.causes = causes


class Client:
    def __init__(self, target):
        self.target = target
        url = urllib.parse.urlsplit(target.endpoint)
        self.host, self.port = url.hostname or "", url.port or 443
        self.context = None if url.scheme == "http" else self._context()

    def _context(self):
        files = {name: os.path.join(self.target.certificates or "", name) for name in ("ca.crt", "tls.crt", "tls.key")}
        for name, what in (("ca.crt", "CA"), ("tls.crt", "cert"), ("tls.key", "key")):
            try:
                with open(files[name], "rb"):
                    pass
            except OSError as error:
                raise Failure(f"failed to read TLS {what} from {files[name]}", f"{error.strerror} (os error {error.errno})") from None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(files["ca.crt"])
        context.load_cert_chain(files["tls.crt"], files["tls.key"])
        return context

    def connect(self):
        try:
            sock = socket.create_connection((self.host, self.port), 20)
        except socket.gaierror:
            raise Unreachable("dns error", "failed to lookup address information: Name or service not known") from None
        except OSError as error:
            raise Unreachable("tcp connect error", f"{error.strerror} (os error {error.errno})") from None
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.context:
            return sock
        try:
            return self.context.wrap_socket(sock, server_hostname=self.host)
        except ssl.SSLCertVerificationError:
            raise Unreachable("invalid peer certificate: UnknownIssuer") from None
        except (ssl.SSLError, OSError):
            raise Unreachable("received fatal alert: UnknownCA") from None

    def _request(self, name, args):
        try:
            sock = self.connect()
        except Unreachable as error:
            # The transport repeats its innermost cause's head.
            raise Failure("transport error", error.causes[0], *error.causes) from None
        body = json.dumps(args).encode()
        head = f"POST /{name} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            sock.sendall(head.encode() + body)
            answer = sock.makefile("rb", buffering=0)  # not one byte beyond the head: frames may follow
            head = http1.read_head(answer)
        except OSError:
            head = None
        if head is None:
            raise Failure("transport error", "connection closed before message completed")
        return sock, int(head.first[1]), lambda: json.loads(_exactly(answer, int(head.get("content-length"))))

    def call(self, name, /, **args):
        """The answer of one call; raises Refusal, Failure, NotRecorded."""
        sock, status, data = self._request(name, args)
        with sock:
            return _judged(status, data())

    def stream(self, name, /, **args):
        """An open stream: a socket that carries frames."""
        sock, status, data = self._request("stream/" + name, args)
        if status != 101:
            with sock:
                return _judged(status, data())
        return sock


def _exactly(file, size):
    data = b""
    while len(data) < size:
        piece = file.read(size - len(data))
        if not piece:
            raise Failure("transport error", "connection closed before message completed")
        data += piece
    return data


def _judged(status, data):
    if status == 501:
        refusal = NotRecorded("")
        refusal.args = (data["message"],)
        raise refusal
    if status != 200:
        raise Refusal(data["code"], data["message"])
    return data
