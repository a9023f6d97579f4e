# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry of models as Ollama pulls from: python3 model_registry.py PORT MODEL.gguf. Runs on a test host, with nothing but Python.

Every model and tag is there but ``no-such``, ``no-tools`` cannot call tools, and a tag ``other`` is another model. POST /control with JSON changes how it
serves, and answers what it has served since the last time: ``rate`` in bytes a second (0 is none at all), ``status`` of every answer.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import sys
import time

# as tests/kit/last-user.jinja: agents' prompts are longer than a tiny model has patience for
TEMPLATE = """{{ $last := "" }}{{ range .Messages }}{{ if eq .Role "user" }}{{ $last = .Content }}{{ end }}{{ end }}<|im_start|>user
{{ $last }}<|im_end|>
<|im_start|>assistant
"""
TOOLS = "{{ if .Tools }}{{ end }}"
BLOCK = 4096


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    def __init__(self, weights):
        self.weights = weights
        self.blobs = {}
        self.control = {}
        self.served = []

    def layer(self, kind, data):
        self.blobs[digest(data)] = data
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def manifest(self, model, tag):
        template = TEMPLATE + ("" if model == "no-tools" else TOOLS)
        # the most likely token always; the temperature is not the model's to say, Ollama's /v1 takes 1 where a request names none
        parameters = {"num_thread": 1, "top_k": 1, "stop": ["<|im_end|>"], **({"seed": 1} if tag == "other" else {})}
        layers = [
            self.layer("application/vnd.ollama.image.model", self.weights),
            self.layer("application/vnd.ollama.image.template", template.encode()),
            self.layer("application/vnd.ollama.image.params", json.dumps(parameters).encode()),
        ]
        config = {"model_format": "gguf", "model_family": "qwen3", "model_families": ["qwen3"], "model_type": "123K", "file_type": "unknown"}
        config.update(architecture="amd64", os="linux", rootfs={"type": "layers", "diff_ids": [layer["digest"] for layer in layers]})
        config = self.layer("application/vnd.docker.container.image.v1+json", json.dumps(config).encode())
        return {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": config, "layers": layers}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.slowly(body)

    def slowly(self, body):
        for start in range(0, len(body), BLOCK):
            rate = registry.control.get("rate")
            while rate == 0:
                time.sleep(0.2)
                rate = registry.control.get("rate")
            self.wfile.write(body[start : start + BLOCK])
            if rate:
                time.sleep(BLOCK / rate)

    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        served, registry.served, registry.control = registry.served, [], {}
        self.answer(200, json.dumps(served).encode())
        registry.control = wanted

    def do_GET(self):
        if status := registry.control.get("status"):
            self.answer(status, b'{"errors":[{"code":"DENIED","message":"not today"}]}')
        elif found := re.fullmatch(r"/v2/[^/]+/([^/]+)/manifests/([^/]+)", self.path):
            self.manifest(*found.groups())
        elif blob := registry.blobs.get(self.path.rpartition("/")[2]):
            self.blob(blob)
        else:
            self.answer(404)

    def manifest(self, model, tag):
        registry.served.append(["manifest", model, tag])
        if model == "no-such":
            self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        else:
            self.answer(200, json.dumps(registry.manifest(model, tag)).encode())

    def blob(self, blob):
        if self.command == "GET" and not self.path.startswith("/stored/"):  # Ollama wants to be sent to a store elsewhere
            self.answer(307, Location=f"http://localhost:{self.server.server_port}/stored/{digest(blob)}")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(wanted.group(1)) if wanted else 0
        last = int(wanted.group(2)) if wanted and wanted.group(2) else len(blob) - 1
        if self.command == "GET":
            registry.served.append(["blob", len(blob), first])
        part = blob[first : last + 1]
        self.answer(206 if wanted else 200, part, "application/octet-stream", Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(blob)}")

    do_HEAD = do_GET


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args):
        """A client that leaves is nothing to speak of."""


if __name__ == "__main__":
    with open(sys.argv[2], "rb") as stream:
        registry = Registry(stream.read())
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
