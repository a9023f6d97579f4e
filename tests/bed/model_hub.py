# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub of models as `hf download` fetches from, for one gated model: a directory, under a revision."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from pathlib import Path


class Hub:
    """Serves while it is entered; ``asked`` holds method, path and status of every request. Refuses as the real hub does: whoever has not the token,

    and the ``strangers``, tokens of accounts that have not accepted the licence.
    """

    def __init__(self, address: str, model: str, revision: str, directory: Path, token: str, strangers: tuple[str, ...] = ()):
        self.model, self.revision, self.token, self.strangers = model, revision, token, strangers
        self.files = {path.name: path.read_bytes() for path in directory.iterdir()}
        self.asked: list[tuple[str, str, int]] = []
        self.server = http.server.ThreadingHTTPServer((address, 0), type("Bound", (Handler,), {"hub": self}))
        self.url = f"http://{address}:{self.server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_failure) -> None:
        self.server.shutdown()
        self.server.server_close()

    def about(self) -> dict:
        siblings = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
        return {"id": self.model, "modelId": self.model, "sha": self.revision, "private": False, "gated": "manual", "siblings": siblings, "tags": []}

    def listing(self) -> list[dict]:
        return [{"type": "file", "path": name, "size": len(data), "oid": etag(data)} for name, data in self.files.items()]


def etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        path, hub = self.path.partition("?")[0], self.hub
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in ("", hub.token, *hub.strangers):
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif not path.removeprefix("/api/models").startswith(f"/{hub.model}"):
            self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif token in hub.strangers:
            self.refuse(403, "GatedRepo", f"Access to model {hub.model} is restricted and you are not in the authorized list.")
        elif not token:
            self.refuse(401, "GatedRepo", f"Access to model {hub.model} is restricted. You must have access to it and be authenticated to access it.")
        elif path in (f"/api/models/{hub.model}", f"/api/models/{hub.model}/revision/{hub.revision}"):
            self.answer(200, json.dumps(hub.about()).encode())
        elif path.startswith(f"/api/models/{hub.model}/tree/{hub.revision}"):
            self.answer(200, json.dumps(hub.listing()).encode())
        elif (data := hub.files.get(path.removeprefix(f"/{hub.model}/resolve/{hub.revision}/"))) is not None:
            self.answer(200, data, {"ETag": f'"{etag(data)}"', "X-Repo-Commit": hub.revision})
        elif f"/{hub.revision}" in path:
            self.refuse(404, "EntryNotFound", "Entry not found")
        else:
            self.refuse(404, "RevisionNotFound", "Invalid rev id")

    do_HEAD = do_GET

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer(status, json.dumps({"error": message}).encode(), {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.hub.asked.append((self.command, self.path, status))
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_words) -> None:
        pass
