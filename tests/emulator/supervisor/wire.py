# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames between command line, gateway and supervisor: one byte of kind, four of length, the payload.

HELLO    JSON; opens a stream and says what it is for
DATA     bytes: stdin or a TCP stream towards the sandbox, stdout or a TCP stream back; an empty one ends that direction
ERRORS   bytes of stderr
EXIT     JSON {"code": N} or {"refusal": [CODE, MESSAGE]}; the last frame of an exec
CONFIG   JSON; what the gateway wants the supervisor to enforce
ASK      JSON; a question of the supervisor and its answer
LOG      JSON list of log lines
"""

from __future__ import annotations

import json
import struct

HELLO, DATA, ERRORS, EXIT, CONFIG, ASK, LOG = b"H", b"D", b"E", b"X", b"C", b"A", b"L"
HEAD = struct.Struct(">cI")


def send(sock, kind, payload=b""):
    sock.sendall(HEAD.pack(kind, len(payload)) + payload)


def send_json(sock, kind, data):
    send(sock, kind, json.dumps(data).encode())


def _exactly(sock, size):
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(size - len(data), 1 << 16))
        if not piece:
            return None
        data += piece
    return bytes(data)


def receive(sock):
    """(kind, payload), or None when the other side is gone."""
    try:
        head = _exactly(sock, HEAD.size)
        if head is None:
            return None
        kind, size = HEAD.unpack(head)
        payload = _exactly(sock, size)
    except OSError:
        return None
    return None if payload is None else (kind, payload)
