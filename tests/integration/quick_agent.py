# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for OpenClaw where the host under it is drilled: the same command line, but it starts at once and asks the model in a single request."""

import http.server
import json
import subprocess
import sys

URL = "https://inference.local/v1/chat/completions"


class Dashboard(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"ready":true}'
        self.send_response(200 if self.path == "/readyz" else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def turn(prompt):
    asked = json.dumps({"model": "any", "messages": [{"role": "user", "content": prompt}]})
    done = subprocess.run(["curl", "-sS", "-m", "30", URL, "-H", "content-type: application/json", "-d", asked], capture_output=True, text=True, check=False)
    try:
        return {"status": "ok", "result": {"payloads": [{"text": json.loads(done.stdout)["choices"][0]["message"]["content"]}]}}
    except (ValueError, KeyError):
        return {"status": "error", "error": {"message": done.stdout + done.stderr}}


words = sys.argv[1:]
if words == ["--version"]:
    print("OpenClaw 2026.9.6")
elif words == ["gateway", "run"]:
    http.server.ThreadingHTTPServer(("127.0.0.1", 18789), Dashboard).serve_forever()
elif words[0] == "agent":
    print(json.dumps(turn(words[words.index("--message") + 1])))
elif words[:2] == ["config", "validate"]:
    print('{"valid": true}')
else:
    sys.exit(f"{words}: not known here")
