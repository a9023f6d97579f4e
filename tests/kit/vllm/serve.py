# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for `vllm serve`: the real one's flags, its key, its log and its list of models; llama-server answers under it.

STANDIN_EXIT ends it on its way up, with that code; STANDIN_LOAD is how many seconds it loads.
"""

import http.client
import http.server
import json
import os
import pathlib
import subprocess
import sys
import time

from vllm.entrypoints.common.cli_args import DUMP, make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

BACKEND = 8199


def log(text):
    print(f"(APIServer pid=1) INFO {time.strftime('%m-%d %H:%M:%S')} {text}", flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if not self.allowed():
            return
        if self.path == "/v1/models":
            served = [{"id": name, "object": "model", "owned_by": "vllm", "max_model_len": ARGS.max_model_len} for name in NAMES]
            self.answer(200, json.dumps({"object": "list", "data": served}).encode())
        else:
            self.answer(200 if self.path == "/health" else 404, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if not self.allowed():
            return
        if json.loads(body).get("model") not in NAMES:
            self.answer(404, json.dumps({"error": {"message": "The model does not exist.", "type": "NotFoundError", "code": 404}}).encode())
            return
        backend = http.client.HTTPConnection("127.0.0.1", BACKEND, timeout=120)
        backend.request("POST", self.path, body, {"content-type": "application/json"})
        answer = backend.getresponse()
        self.answer(answer.status, answer.read(), answer.getheader("content-type"))

    def allowed(self):
        if not KEY or self.headers.get("authorization") == f"Bearer {KEY}" or not self.path.startswith("/v1"):
            return True
        self.answer(401, b'{"error":"Unauthorized"}')
        return False

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


if sys.argv[1:2] != ["serve"]:
    sys.exit(f"vllm: {sys.argv[1:]} is not known here")
ARGS = make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args(sys.argv[2:])
KNOWN = json.loads(DUMP.read_text())
for value, known, what in ((ARGS.tool_call_parser, KNOWN["tool_parsers"], "tool call"), (ARGS.reasoning_parser, KNOWN["reasoning_parsers"], "reasoning")):
    if value and value not in known:
        raise KeyError(f"invalid {what} parser: {value} (chose from {{ {', '.join(known)} }})")
if not 0 < (ARGS.gpu_memory_utilization or 0.92) <= 1:
    sys.exit("pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\ngpu_memory_utilization")
KEY = (ARGS.api_key or [os.environ.get("VLLM_API_KEY", "")])[0]
NAMES = ARGS.served_model_name or [ARGS.model_tag]
ARGS.max_model_len = int(ARGS.max_model_len or 4096)
log(f"vLLM API server version 0.33.0, model {ARGS.model_tag}, max_model_len {ARGS.max_model_len}")
snapshot = pathlib.Path(os.environ["HF_HOME"], "hub", f"models--{ARGS.model_tag.replace('/', '--')}", "snapshots", ARGS.revision)
if not (snapshot / "model.safetensors").exists():
    sys.exit(f"OSError: {ARGS.model_tag} is not in {snapshot}, and this machine has no way to the hub")
for part in range(4):
    log(f"Loading safetensors checkpoint shards: {25 * part}% Completed")
    time.sleep(float(os.environ.get("STANDIN_LOAD", "1")) / 4)
if os.environ.get("STANDIN_EXIT"):
    print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", file=sys.stderr, flush=True)
    sys.exit(int(os.environ["STANDIN_EXIT"]))
server = ["/opt/tiny-agent/llama-server", "--model", "/opt/tiny-agent/tiny-agent.gguf", "--chat-template-file", "/opt/tiny-agent/last-user.jinja"]
server += ["--host", "127.0.0.1", "--port", str(BACKEND), "--ctx-size", "65536", "--predict", "256", "--parallel", "1", "--threads", "1", "--temp", "0"]
with open("/dev/null", "w", encoding="ascii") as null:
    subprocess.Popen(server, stdout=null, stderr=null)
while True:
    try:
        backend = http.client.HTTPConnection("127.0.0.1", BACKEND, timeout=5)
        backend.request("GET", "/health")
        if backend.getresponse().status == 200:
            break
    except OSError:
        pass
    time.sleep(0.1)
log("Application startup complete.")
http.server.ThreadingHTTPServer((ARGS.host, int(ARGS.port)), Handler).serve_forever()
