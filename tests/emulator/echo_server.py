#!/usr/bin/env python3
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model endpoint that answers with what it received.

Serves the OpenAI (chat/completions, completions, responses, models) and Anthropic (messages) paths. The text of every answer is a JSON
object of the request as it arrived: method, path, the authorization, x-api-key and anthropic-version headers, and the body's model,
max-token fields and stream flag. So a recording shows what a gateway really forwards.

Usage: echo_server.py PORT [--key KEY] [--models a,b] [--slow SECONDS] [--fail STATUS]
"""
import argparse, json, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

p = argparse.ArgumentParser()
p.add_argument("port", type=int); p.add_argument("--key"); p.add_argument("--models", default="tiny-agent")
p.add_argument("--slow", type=float, default=0); p.add_argument("--fail", type=int, default=0)
a = p.parse_args()

class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def send(self, code, obj):
        b = json.dumps(obj, sort_keys=True).encode()
        self.send_response(code); self.send_header("content-type", "application/json"); self.send_header("content-length", str(len(b)))
        self.end_headers(); self.wfile.write(b)
    def handle_any(self):
        n = int(self.headers.get("content-length") or 0); raw = self.rfile.read(n) if n else b""
        try: body = json.loads(raw or b"{}")
        except ValueError: body = {}
        h = self.headers
        got = {"method": self.command, "path": self.path, "authorization": h.get("authorization"), "x-api-key": h.get("x-api-key"),
               "anthropic-version": h.get("anthropic-version"), "model": body.get("model"), "stream": body.get("stream"),
               "max_tokens": body.get("max_tokens"), "max_completion_tokens": body.get("max_completion_tokens"), "max_output_tokens": body.get("max_output_tokens")}
        got = {k: v for k, v in got.items() if v is not None}
        time.sleep(a.slow)
        if a.fail: return self.send(a.fail, {"error": {"message": "told to fail", "got": got}})
        key = (h.get("authorization") or "").removeprefix("Bearer ") or h.get("x-api-key")
        if a.key and key != a.key: return self.send(401, {"error": {"message": "bad key", "type": "authentication_error"}})
        text = json.dumps(got, sort_keys=True); path = self.path.split("?")[0]
        if path.endswith("/models"): return self.send(200, {"object": "list", "got": got, "data": [{"id": m, "object": "model"} for m in a.models.split(",")]})
        if path.endswith("/chat/completions"): return self.send(200, {"id": "c", "object": "chat.completion", "model": body.get("model"), "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]})
        if path.endswith("/completions"): return self.send(200, {"id": "c", "object": "text_completion", "model": body.get("model"), "choices": [{"index": 0, "finish_reason": "stop", "text": text}]})
        if path.endswith("/responses"): return self.send(200, {"id": "r", "object": "response", "status": "completed", "model": body.get("model"), "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]})
        if path.endswith("/messages"): return self.send(200, {"id": "m", "type": "message", "role": "assistant", "model": body.get("model"), "stop_reason": "end_turn", "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 1, "output_tokens": 1}})
        if path.endswith("/embeddings"): return self.send(404, {"error": {"message": "no embeddings"}})
        self.send(200, {"got": got})
    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

ThreadingHTTPServer(("0.0.0.0", a.port), H).serve_forever()
