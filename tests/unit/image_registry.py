# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry for tests of one process, with the faults that a real one shows only now and then."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import ssl
import tarfile
import threading
import time
import uuid

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
NOTE = {"vnd.docker.reference.type": "attestation-manifest"}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry(http.server.ThreadingHTTPServer):
    """One image of one layer as tag 1, in an index of several platforms as tag ``many``, in one of others only as ``foreign``.

    ``stalls`` layers are sent half and then nothing. The first ``limited`` requests of a manifest or a token are refused with the header ``retry_after``. With
    ``password`` a token is asked for, or whatever ``challenges`` say; tokens are refused while ``expired``, and manifests while ``forbidden``. Its clock is
    ``ahead`` by so many seconds. With the ``certificate`` in a file it speaks TLS.
    """

    daemon_threads = True

    def __init__(self, certificate: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.stalls, self.limited, self.retry_after = 0, 0, "1"
        self.password, self.expired, self.forbidden, self.ahead = "", False, False, 0
        self.challenges = 'Bearer realm="http://{host}/token",service="{host}"'
        self.asked: list[tuple[float, str]] = []  # manifests, by when
        self.released = threading.Event()
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as archive:
            info = tarfile.TarInfo("start")
            info.size = 1 << 16
            archive.addfile(info, io.BytesIO(uuid.uuid4().bytes * (1 << 12)))
        layer = gzip.compress(plain.getvalue())
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest(plain.getvalue())]}}
        raw = json.dumps(config).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(raw), "digest": digest(raw)},
                "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(layer), "digest": digest(layer)}],
            }
        ).encode()
        self.content = {digest(raw): raw, digest(layer): layer}
        self.layer = digest(layer)
        note = self._entry(digest(b"note"), "unknown/unknown", NOTE)
        arm = self._entry(digest(b"arm"), "linux/arm64/v8")
        self.manifests = {
            "1": (self.manifest, MANIFEST),
            "many": (self._index([note, arm, self._entry(digest(self.manifest), "linux/amd64")]), INDEX),
            "foreign": (self._index([note, arm]), INDEX),
        }
        self.manifests |= {digest(body): (body, kind) for body, kind in self.manifests.values()}

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def _entry(self, name: str, platform: str, notes: dict | None = None) -> dict:
        parts = dict(zip(("os", "architecture", "variant"), platform.split("/")))
        return {"mediaType": MANIFEST, "digest": name, "size": len(self.manifest), "platform": parts, **({"annotations": notes} if notes else {})}

    @staticmethod
    def _index(entries: list[dict]) -> bytes:
        return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string((timestamp or time.time()) + self.server.ahead)

    def lets_in(self):
        scheme, _blank, given = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic" and "Bearer" not in self.server.challenges:
            return base64.b64decode(given).decode().rpartition(":")[2] == self.server.password
        return (scheme, given) == ("Bearer", "good") and not self.server.expired

    def answer(self, status, body, kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code, message, **headers):
        self.answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), **headers)

    def limit(self):
        self.server.limited -= 1
        return self.error(429, "TOOMANYREQUESTS", "slow down", Retry_After=self.server.retry_after)

    def do_GET(self):
        here = self.server
        path = self.path.partition("?")[0]
        if path == "/token":
            if here.limited:
                return self.limit()
            given = base64.b64decode(self.headers.get("Authorization", "").partition(" ")[2]).decode().rpartition(":")[2]
            if given != here.password:
                return self.error(401, "UNAUTHORIZED", "Invalid user or API key")
            return self.answer(200, b'{"token": "good"}')
        if here.password and not self.lets_in():
            why = ',error="invalid_token"' if "Authorization" in self.headers else ""
            challenge = here.challenges.format(host=here.host) + why
            return self.error(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=challenge)
        if path == "/v2/":
            return self.answer(200, b"{}")
        last = path.rpartition("/")[2]
        if "/manifests/" in path:
            here.asked.append((time.monotonic(), last))
            if here.limited:
                return self.limit()
            if here.forbidden:
                return self.error(403, "DENIED", "requested access to the resource is denied")
            if last in here.manifests:
                body, kind = here.manifests[last]
                return self.answer(200, body, kind, Docker_Content_Digest=digest(body))
        if last not in here.content:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        body = here.content[last]
        if last == here.layer and here.stalls and self.command == "GET":
            here.stalls -= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            here.released.wait(60)
            return None
        return self.answer(200, body, "application/octet-stream", Docker_Content_Digest=digest(body))

    do_HEAD = do_GET
