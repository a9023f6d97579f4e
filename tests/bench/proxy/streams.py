# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of small chunks: a backend of two processes that writes them, and a client that reads many and says what it saw."""

from __future__ import annotations

import contextlib
import selectors
import socket
import statistics
import time
import typing as t

SIZE = 97
AHEAD = 640  # chunks that a backend which waits for its reader has ready for one call
PATIENCE = 3.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (SIZE, b"x" * SIZE)


def serve(listener: socket.socket) -> None:
    """/N/0 writes N chunks a call, as fast as they are taken; /1/5 one every 5 ms, with the time in it. Until the client has gone."""
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    due: dict[socket.socket, float] = {}
    pauses: dict[socket.socket, float] = {}
    texts: dict[socket.socket, bytes] = {}
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
                    count, pause = map(int, request.split()[1].strip(b"/").split(b"/"))
                    texts[connection] = CHUNK * count
                    connection.send(HEAD)
                    if pause:
                        pauses[connection], due[connection] = pause / 1000, time.monotonic()
                    else:
                        selector.modify(connection, selectors.EVENT_WRITE)
                else:
                    for _call in range(100):
                        rest = left.pop(connection, texts[connection])
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
            # all streams at one beat, as a server that computes them together has it, however slowly a proxy let them begin
            due[connection] = (now // pauses[connection] + 1) * pauses[connection]
            with contextlib.suppress(OSError):
                connection.send(b"%x\r\n%s\r\n" % (SIZE, (b"@%.6f;" % time.monotonic()).ljust(SIZE, b"x")))


def _accepted(listener: socket.socket) -> socket.socket:
    connection, _peer = listener.accept()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Reader:
    """Streams of one path that are read together, through one port or several."""

    def __init__(self, path: str, token: str):
        self.selector = selectors.DefaultSelector()
        self.request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_exception: object) -> None:
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()

    def open(self, port: int, count: int) -> list[float]:
        """So many more streams, each of which has come as far as its first chunk; the seconds until then. What comes meanwhile is read."""
        began: dict[socket.socket, float] = {}
        first: list[float] = []
        for _stream in range(count):
            began[connection := socket.create_connection(("127.0.0.1", port))] = time.monotonic()
            connection.sendall(self.request)
            self.selector.register(connection, selectors.EVENT_READ, port)
        deadline = time.monotonic() + PATIENCE  # a proxy may leave some aside while others have more than it can carry
        while began and time.monotonic() < deadline:
            for connection, _port, found in self.received():
                if b"xxxxxxxx" in found and connection in began:
                    first.append(time.monotonic() - began.pop(connection))
        return first + [PATIENCE] * len(began)

    def received(self) -> t.Iterator[tuple[socket.socket, int, bytes]]:
        """What there is to read now: of which stream, through which port."""
        for key, _events in self.selector.select(0.1):
            if not (found := key.fileobj.recv(1 << 18)):
                raise ConnectionError("a stream ended")
            yield key.fileobj, key.data, found


def rate(port: int, token: str, at_once: int, count: int, seconds: float) -> float:
    """MB/s of payload in so many streams of a backend that writes C(at_once) chunks a call."""
    with Reader(f"/{at_once}/0", token) as reader:
        reader.open(port, count)
        payload, start = 0, time.monotonic()
        while time.monotonic() < start + seconds:
            payload += sum(found.count(b"x") for _connection, _port, found in reader.received())
        return payload / (time.monotonic() - start) / 1e6


def first_byte(port: int, token: str, path: str, count: int) -> float:
    """The median of the milliseconds until so many streams, opened at once, have their first chunk."""
    with Reader(path, token) as reader:
        return statistics.median(reader.open(port, count)) * 1000


def delays(port: int, token: str, pause: int, count: int, seconds: float) -> list[float]:
    """How late chunks arrive in so many streams, in ms."""
    with Reader(f"/1/{pause}", token) as reader:
        reader.open(port, count)
        found, start = [], time.monotonic()
        while time.monotonic() < start + seconds:
            for _connection, _port, text in reader.received():
                now = time.monotonic()
                found += [(now - float(part.partition(b";")[0])) * 1000 for part in text.split(b"@")[1:]]
    return found
