# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of small chunks: a backend of two processes that writes them, and a client that reads many and says what it saw."""

from __future__ import annotations

import contextlib
import selectors
import socket
import statistics
import time

SIZE = 97
PATIENCE = 3.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (SIZE, b"x" * SIZE)


def serve(listener: socket.socket) -> None:
    """/0 writes chunks as fast as they go, one a call; /5 one every 5 ms with the time in it. Until the client has gone."""
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    due: dict[socket.socket, float] = {}
    pauses: dict[socket.socket, float] = {}
    left: dict[socket.socket, bytes] = {}
    while True:
        for key, _events in selector.select(max(0, min(due.values(), default=9e9) - time.monotonic()) if due else None):
            connection = key.fileobj
            try:
                if connection is listener:
                    selector.register(_accepted(listener), selectors.EVENT_READ)
                elif key.events == selectors.EVENT_READ:
                    request = connection.recv(65536)
                    if not request:
                        raise ConnectionError
                    pauses[connection] = int(request.split()[1][1:]) / 1000
                    connection.send(HEAD)
                    if pauses[connection]:
                        due[connection] = time.monotonic()
                    else:
                        selector.modify(connection, selectors.EVENT_WRITE)
                else:
                    for _call in range(100):
                        rest = left.pop(connection, CHUNK)
                        if (sent := connection.send(rest)) < len(rest):
                            left[connection] = rest[sent:]
                            break
            except BlockingIOError:
                pass
            except OSError:
                selector.unregister(connection)
                due.pop(connection, None)
                connection.close()
        now = time.monotonic()
        for connection in [connection for connection, when in due.items() if when <= now]:
            due[connection] += pauses[connection]
            with contextlib.suppress(OSError):
                connection.send(b"%x\r\n%s\r\n" % (SIZE, (b"@%.6f;" % time.monotonic()).ljust(SIZE, b"x")))


def _accepted(listener: socket.socket) -> socket.socket:
    connection, _peer = listener.accept()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def opened(port: int, token: str, pause: int, count: int, first: list[float]) -> selectors.BaseSelector:
    """So many streams, each of which has come as far as its first chunk; the seconds until then are added to C(first). What comes meanwhile is read."""
    request = f"GET /{pause} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    began: dict[socket.socket, float] = {}
    selector = selectors.DefaultSelector()
    for _stream in range(count):
        began[connection := socket.create_connection(("127.0.0.1", port))] = time.monotonic()
        connection.sendall(request)
        selector.register(connection, selectors.EVENT_READ)
    deadline = time.monotonic() + PATIENCE  # a proxy may leave some aside while others have more than it can carry
    while began and time.monotonic() < deadline:
        for key, _events in selector.select(0.1):
            if b"xxxxxxxx" in _received(key.fileobj) and key.fileobj in began:
                first.append(time.monotonic() - began.pop(key.fileobj))
    first += [PATIENCE] * len(began)
    return selector


def closed(selector: selectors.BaseSelector) -> None:
    for key in list(selector.get_map().values()):
        key.fileobj.close()


def _received(connection: socket.socket) -> bytes:
    if not (found := connection.recv(1 << 18)):
        raise ConnectionError("a stream ended")
    return found


def read(port: int, token: str, pause: int, count: int, seconds: float) -> dict[str, float]:
    """MB/s of payload, the median of the first bytes in ms, and for chunks with a time the 99th percentile of their delays in ms."""
    first: list[float] = []
    for _time in range(20 if count == 1 else 0):
        closed(opened(port, token, pause, count, first))
    selector = opened(port, token, pause, count, first)
    delays, payload, start = [], 0, time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        for key, _events in selector.select(0.1):
            found = _received(key.fileobj)
            payload += found.count(b"x")
            if pause:
                now = time.monotonic()
                delays += [now - float(part.partition(b";")[0]) for part in found.split(b"@")[1:]]
    closed(selector)
    return {
        "rate": payload / (time.monotonic() - start) / 1e6,
        "first": statistics.median(first) * 1000,
        "delay": statistics.quantiles(delays, n=100)[98] * 1000 if pause else 0.0,
    }
