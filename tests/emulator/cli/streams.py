# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in a sandbox: stdin up, stdout and stderr down, the exit code at the end."""

from __future__ import annotations

import json
import os
import sys

from ..errors import Failure, Refusal
from ..supervisor import wire
from .client import STREAM_LOST

MAX_STDIN = 4 * 1024 * 1024
PIECE = 1 << 15


def read_stdin():
    """All of a piped stdin, as the real program reads it before it sends the command; nothing from a terminal."""
    try:
        if os.isatty(0):
            return b""
        data = b""
        while piece := os.read(0, 1 << 16):
            data += piece
            if len(data) > MAX_STDIN:
                raise Failure(f"stdin payload exceeds {MAX_STDIN} byte limit; pipe smaller inputs or use `sandbox upload`")
    except OSError:
        return b""
    return data


def run(client, *, stdin=None, out=None, err=None, **request):
    """The command's exit code. `out` and `err` take bytes (default: this process's own streams)."""
    data = read_stdin() if stdin is None else stdin
    write_out = out or _writer(sys.stdout)
    write_err = err or _writer(sys.stderr)
    sock = client.stream("exec", **request)
    with sock:
        try:
            for start in range(0, len(data), PIECE):
                wire.send(sock, wire.DATA, data[start : start + PIECE])
            wire.send(sock, wire.DATA)
        except OSError:
            pass  # the command ended without reading it all
        while frame := wire.receive(sock):
            kind, payload = frame
            if kind == wire.DATA:
                write_out(payload)
            elif kind == wire.ERRORS:
                write_err(payload)
            elif kind == wire.EXIT:
                end = json.loads(payload)
                if "refusal" in end:
                    raise Refusal(*end["refusal"])
                return end["code"]
    raise STREAM_LOST


def capture(client, **request):
    """(exit code, stdout) of a command whose stderr goes to this process's."""
    found = []
    code = run(client, stdin=b"", out=found.append, **request)
    return code, b"".join(found)


def _writer(stream):
    def write(data):
        stream.flush()
        fd = stream.fileno()
        while data:
            data = data[os.write(fd, data) :]

    return write
