# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of small chunks: a backend that writes them, a process each, and a client that reads many and says what it saw."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import statistics
import time

SIZE = 97
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def serve(listener: socket.socket) -> None:
    """/0 writes chunks as fast as they go, /5 one every 5 ms with the time in it. A process for each connection, until the client has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _peer = listener.accept()
        if os.fork() == 0:
            listener.close()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                _stream(connection)
            except OSError:
                os._exit(0)
        connection.close()


def _stream(connection: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536) or os._exit(0)
    pause = int(request.split()[1][1:]) / 1000
    connection.sendall(HEAD)
    if not pause:
        chunk = b"%x\r\n%s\r\n" % (SIZE, b"x" * SIZE)
        while True:
            connection.send(chunk)
    due = time.monotonic()
    while True:
        connection.sendall(b"%x\r\n%s\r\n" % (SIZE, (b"@%.6f;" % time.monotonic()).ljust(SIZE, b"x")))
        due += pause
        time.sleep(max(0, due - time.monotonic()))


def read(port: int, token: str, pause: int, count: int, seconds: float) -> dict[str, float]:
    """MB/s of payload, the median of the first bytes in ms, and for chunks with a time the 99th percentile of their delays in ms."""
    selector = selectors.DefaultSelector()
    request = f"GET /{pause} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    began, first, delays, payload = {}, [], [], 0
    for _stream in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        began[connection] = time.monotonic()
        connection.sendall(request)
        selector.register(connection, selectors.EVENT_READ)
    buffer = bytearray(1 << 18)
    start = time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        for key, _events in selector.select(0.1):
            size = key.fileobj.recv_into(buffer)
            if not size:
                raise ConnectionError("a stream ended")
            found = buffer.count(b"x", 0, size)
            payload += found
            if key.fileobj in began and found > 20:
                first.append(time.monotonic() - began.pop(key.fileobj))
            if pause:
                now = time.monotonic()
                delays += [now - float(part.partition(b";")[0]) for part in bytes(buffer[:size]).split(b"@")[1:]]
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    return {
        "rate": payload / (time.monotonic() - start) / 1e6,
        "first": statistics.median(first) * 1000,
        "delay": statistics.quantiles(delays, n=100)[98] * 1000 if pause else 0.0,
    }
