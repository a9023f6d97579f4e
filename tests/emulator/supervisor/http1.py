# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much HTTP/1.1 as a proxy needs: heads, bodies passed on in pieces, answers of its own."""

from __future__ import annotations

import json
import re
from urllib.parse import quote, unquote

LIMIT = 1 << 16


class Head:
    """The first line's three words and the headers, in order."""

    def __init__(self, first, headers):
        self.first, self.headers = first, headers

    def get(self, name, default=None):
        return next((value for key, value in self.headers if key.lower() == name), default)

    def without(self, *names):
        return [(key, value) for key, value in self.headers if key.lower() not in names]

    def bytes(self):
        lines = [" ".join(self.first), *(f"{key}: {value}" for key, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    @property
    def keep_alive(self):
        return (self.get("connection") or "").lower() != "close" and self.first[-1] != "HTTP/1.0"


def read_head(file):
    """The next head of a buffered stream; None at its end or when it is not HTTP."""
    line = file.readline(LIMIT)
    while line in (b"\r\n", b"\n"):
        line = file.readline(LIMIT)
    if not line.endswith(b"\n"):
        return None
    first = line.decode("latin-1").rstrip("\r\n").split(" ", 2)
    headers = []
    while True:
        line = file.readline(LIMIT)
        if line in (b"\r\n", b"\n"):
            return Head(first, headers)
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            return None
        headers.append((name.strip(), value.strip()))


def body(head, file, answer_to=None):
    """The body's pieces as they stand on the wire (chunk framing included). `answer_to`: the method of the request this answers."""
    status = int(head.first[1]) if answer_to else None
    if answer_to == "HEAD" or status in (204, 304) or (status and status < 200):
        return
    if "chunked" in (head.get("transfer-encoding") or "").lower():
        while True:
            line = file.readline(LIMIT)
            size = int(line.split(b";")[0].strip() or b"0", 16)
            if not size:
                tail = line
                while line not in (b"\r\n", b"\n", b""):
                    line = file.readline(LIMIT)
                    tail += line
                yield tail
                return
            yield line + file.read(size + 2)
    elif head.get("content-length") is not None:
        left = int(head.get("content-length"))
        while left:
            piece = file.read1(min(left, LIMIT))
            if not piece:
                return
            left -= len(piece)
            yield piece
    elif answer_to:
        while piece := file.read1(LIMIT):
            yield piece


def whole_body(head, file):
    """The request's body without framing."""
    if "chunked" not in (head.get("transfer-encoding") or "").lower():
        return b"".join(body(head, file))
    data = b""
    for piece in body(head, file):
        size, _newline, rest = piece.partition(b"\r\n")
        data += rest[: int(size.split(b";")[0], 16)]
    return data


SEGMENT = "!$&'()*+,=:@~-._"


def canonical_path(path, encoded_slash=False):
    """The path as the policy sees it: decoded, without dot segments, doubled slashes or `;parameters`; None when it has no such form."""
    if re.search(r"[^\x21-\x7e]|#|%(?![0-9A-Fa-f]{2})", path) or not path.startswith("/"):
        return None
    if not encoded_slash and "%2f" in path.lower():
        return None
    kept = []
    segments = path.split("/")[1:]
    for segment in segments:
        plain = unquote(segment, errors="replace").partition(";")[0]
        if re.search(r"[\x00-\x1f\x7f]", plain):
            return None
        if plain == "..":
            if not kept:
                return None
            kept.pop()
        elif plain not in ("", "."):
            kept.append(quote(plain, safe=SEGMENT))
    return "/" + "/".join(kept) + ("/" if kept and segments[-1] in ("", ".", "..") else "")


def answer(status, phrase, data, *, close=True):
    """A JSON answer of the proxy's own."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    head = [("Content-Type", "application/json"), ("Content-Length", str(len(text))), ("Connection", "close" if close else "keep-alive")]
    return Head(["HTTP/1.1", str(status), phrase], head).bytes() + text
