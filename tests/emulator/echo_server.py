# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model endpoint that answers with what it received.

Serves the OpenAI (chat/completions, completions, responses, models) and Anthropic (messages) paths. The text of every answer is a JSON
object of the request as it arrived: method, path, the authorization, x-api-key and anthropic-version headers, and the body's model,
max-token fields and stream flag. So a recording shows what a gateway really forwards.

Usage: echo_server.py PORT [--key KEY] [--models a,b] [--slow SECONDS] [--fail STATUS]
"""

from __future__ import annotations

import argparse
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEADERS = ("authorization", "x-api-key", "anthropic-version")
FIELDS = ("model", "stream", "max_tokens", "max_completion_tokens", "max_output_tokens")

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("--key")
parser.add_argument("--models", default="tiny-agent")
parser.add_argument("--slow", type=float, default=0)
parser.add_argument("--fail", type=int, default=0)


def chat(model, text):
    message = {"role": "assistant", "content": text}
    return {"id": "c", "object": "chat.completion", "model": model, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


def completion(model, text):
    return {"id": "c", "object": "text_completion", "model": model, "choices": [{"index": 0, "finish_reason": "stop", "text": text}]}


def response(model, text):
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return {"id": "r", "object": "response", "status": "completed", "model": model, "output": [message]}


def message(model, text):
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": model,
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": text}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


ANSWERS = {"/chat/completions": chat, "/completions": completion, "/responses": response, "/messages": message}


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        pass

    def send(self, code, data):
        body = json.dumps(data, sort_keys=True).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def received(self):
        if "chunked" in (self.headers.get("transfer-encoding") or "").lower():  # unread, it would reset the connection under the answer
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        size = int(self.headers.get("content-length") or 0)
        try:
            body = json.loads(self.rfile.read(size) if size else b"{}")
        except ValueError:
            body = {}
        found = {"method": self.command, "path": self.path}
        found |= {name: self.headers.get(name) for name in HEADERS} | {name: body.get(name) for name in FIELDS}
        return {name: value for name, value in found.items() if value is not None}

    def answer(self):
        options, got = self.server.options, self.received()
        path = self.path.partition("?")[0]
        time.sleep(options.slow)
        key = (self.headers.get("authorization") or "").removeprefix("Bearer ") or self.headers.get("x-api-key")
        kind = next((ANSWERS[end] for end in ANSWERS if path.endswith(end)), None)
        if options.fail:
            self.send(options.fail, {"error": {"message": "told to fail", "got": got}})
        elif options.key and key != options.key:
            self.send(401, {"error": {"message": "bad key", "type": "authentication_error"}})
        elif path.endswith("/models"):
            self.send(200, {"object": "list", "got": got, "data": [{"id": name, "object": "model"} for name in options.models.split(",")]})
        elif kind:
            self.send(200, kind(got.get("model"), json.dumps(got, sort_keys=True)))
        elif path.endswith("/embeddings"):
            self.send(404, {"error": {"message": "no embeddings"}})
        else:
            self.send(200, {"got": got})

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer


if __name__ == "__main__":
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("0.0.0.0", arguments.port), Echo)
    server.options = arguments
    server.serve_forever()
