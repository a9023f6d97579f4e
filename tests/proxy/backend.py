# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model server for tests of the proxy: it keeps what it was asked, and misbehaves when a path says so."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Asked:
    """One request as it arrived. C(ended) is how: C(answered), C(cut) by the other side, or empty while it lasts."""

    line: str
    headers: list[tuple[str, str]]
    body: int = 0
    ended: str = ""
    chunks: int = 0

    @property
    def path(self) -> str:
        return self.line.split()[1]


@dataclass
class Backend:
    """C(/slow/N) streams chunks N ms apart for long, C(/silent) never answers, C(/reset) cuts a stream by force; all else is answered with 200."""

    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=2048))
    asked: list[Asked] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def __post_init__(self):
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _peer = self.listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while line := stream.readline().decode().strip():
                headers = []
                while header := stream.readline().decode("latin-1").strip():
                    name, _colon, value = header.partition(":")
                    headers.append((name.lower(), value.strip()))
                asked = Asked(line, headers)
                self.asked.append(asked)
                try:
                    self._body(stream, asked)
                    self._answer(connection, asked)
                    asked.ended = "answered"
                except OSError:
                    asked.ended = "cut"
                    raise

    def _body(self, stream, asked):
        known = dict(asked.headers)
        left = int(known.get("content-length", 0))
        while left:
            block = stream.read1(min(left, 1 << 20))
            if not block:
                raise ConnectionError
            asked.body += len(block)
            left -= len(block)
        while known.get("transfer-encoding") == "chunked":
            size = int(stream.readline() or b"-1", 16)
            if size < 0:
                raise ConnectionError
            asked.body += len(stream.read(size))
            while size == 0 and stream.readline().strip():  # trailers
                pass
            if size == 0:
                return
            stream.readline()

    def _answer(self, connection, asked):
        _empty, kind, *rest = asked.path.split("/")
        if kind == "silent":
            connection.settimeout(60)
            if not connection.recv(1):
                raise ConnectionError
        elif kind in ("slow", "reset"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number in range(3 if kind == "reset" else 2000):
                event = f"data: {number} {time.monotonic():.6f}\n\n".encode()
                connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                asked.chunks = number + 1
                time.sleep(int(rest[0]) / 1000 if rest else 0.01)
            if kind == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
                raise ConnectionError
            connection.sendall(b"0\r\n\r\n")
        else:
            body = b"" if asked.line.startswith("HEAD ") else b'{"ok": true}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n" + body)

    def gone(self):
        """As if it were killed: no listener, every connection cut."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes up who accepts
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
