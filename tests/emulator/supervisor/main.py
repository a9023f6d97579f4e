# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a sandbox's container: makes its network, runs its main process and its proxy, and does what the gateway asks.

Needs python3 (standard library), iproute2 and nftables in the image. The gateway connects to it, never the other way round; who connects
must know the token that the gateway laid into the container before its start.
"""

from __future__ import annotations

import collections
import json
import os
import queue
import shlex
import signal
import socket
import sys
import threading
import time
import traceback

from . import network, processes, wire
from .credentials import Credentials
from .proxy import Proxy

PORT = 17680
LOG_SECONDS = 5  # the gateway's log shows the supervisor's lines late, as the real one does
TOKEN = "/etc/openshell/auth/emulator-token"


class Supervisor:
    def __init__(self, workdir):
        self.namespace = network.make()
        environment = json.loads(os.environ.get("OPENSHELL_USER_ENVIRONMENT") or "{}")
        self.workload = processes.Workload(self.namespace, os.environ.get("OPENSHELL_OCI_IMAGE_USER", ""), workdir, environment)
        self.secrets = Credentials()
        self.configuration, self.configured = {}, threading.Event()
        self.session, self.answers, self.logs = None, {}, collections.deque(maxlen=2000)
        self.proxy = Proxy(
            lambda: self.configuration.get("policy", {}),
            lambda: self.configuration.get("routes", []),
            self.secrets,
            self.certificate,
            self.log,
        )
        with open(TOKEN, encoding="ascii") as file:
            self.token = file.read()

    def log(self, text):
        self.logs.append(f"{time.time():.3f} OCSF ocsf {text}")

    # -- the gateway's streams ----------------------------------------------------------------------------------------------------

    def listen(self):
        listener = socket.create_server(("0.0.0.0", PORT), backlog=128)
        while True:
            sock, _peer = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with sock:
            frame = wire.receive(sock)
            hello = json.loads(frame[1]) if frame and frame[0] == wire.HELLO else {}
            if hello.get("token") != self.token:
                return
            kind = hello["for"]
            if kind == "session":
                self.follow(sock)
            elif kind == "exec":
                channel = os.urandom(4).hex()
                self.log(f"NET:OPEN [INFO] [msg:ssh relay open (channel_id={channel})]")
                self.log("SSH:OPEN [INFO] ALLOWED")
                self.workload.run(sock, hello)
                self.log(f"NET:CLOSE [INFO] [msg:ssh relay closed (channel_id={channel})]")
            elif kind == "tcp":
                self.workload.connect(sock, hello["port"], hello.get("host", "127.0.0.1"))

    def follow(self, sock):
        """The gateway's own stream: it brings the configuration, takes logs, and signs certificates."""
        self.session = sock
        wire.send_json(
            sock,
            wire.HELLO,
            {
                "paths": [path for path in json.loads(os.environ.get("OPENSHELL_BASELINE", "[]")) if os.path.exists(path)],
                "gpus": processes.gpu_paths(),
                "policy": self.image_policy(),
            },
        )
        threading.Thread(target=self.ship_logs, args=(sock,), daemon=True).start()
        while frame := wire.receive(sock):
            data = json.loads(frame[1])
            if frame[0] == wire.CONFIG:
                self.configure(data)
                wire.send_json(sock, wire.CONFIG, {"serial": data["serial"]})
            elif frame[0] == wire.ASK:
                self.answers.pop(data["id"]).put(data["pem"])
        if self.session is sock:
            self.session = None

    def ship_logs(self, sock):
        while self.session is sock:
            time.sleep(LOG_SECONDS)
            lines = [self.logs.popleft() for _line in range(len(self.logs))]
            if lines:
                try:
                    wire.send_json(sock, wire.LOG, lines)
                except OSError:
                    return

    @staticmethod
    def image_policy():
        for path in ("/etc/openshell/policy.yaml", "/etc/navigator/policy.yaml"):
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    return file.read()
        return None

    def configure(self, data):
        first = not self.configured.is_set()
        if data["ca"] != self.configuration.get("ca"):
            processes.trust(data["ca"])
            self.proxy.forget_certificates()
        if data.get("credentials") is None:
            self.secrets.revoke()
        else:
            self.secrets.update(data["credentials"])
        self.configuration = data
        self.workload.policy, self.workload.credentials = data["policy"], self.secrets.environment()
        if data.get("note"):
            self.log(data["note"])
        if first:
            self.start_main()
            self.configured.set()

    def start_main(self):
        argv = shlex.split(os.environ.get("OPENSHELL_SANDBOX_COMMAND", "sleep infinity"))
        main = self.workload.start(argv, stdin=-3, stdout=-3, stderr=-3)
        network.watch(main.pid)

        def end_with_it():
            os._exit(max(main.wait(), 1) if main.wait() else 0)

        threading.Thread(target=end_with_it, daemon=True).start()

    def certificate(self, host):
        """PEM (certificate and key) for a host, signed by the gateway."""
        sock, answer, number = self.session, queue.Queue(), os.urandom(4).hex()
        if sock is None:
            raise OSError("the gateway is not connected")
        self.answers[number] = answer
        wire.send_json(sock, wire.ASK, {"id": number, "host": host})
        try:
            return answer.get(timeout=10)
        except queue.Empty:
            raise OSError("the gateway did not sign in time") from None

    def run(self):
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        self.listen()


def reap(supervisor):
    """What process 1 does: waits for every orphan, ends with the supervisor, passes SIGTERM on."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(supervisor, signal.SIGTERM))
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid == supervisor:
            return os.waitstatus_to_exitcode(status)


def main(words, _path):
    if words[:1] in (["--version"], ["-V"]):
        from .. import VERSION

        print("openshell-sandbox", VERSION)
        return 0
    if os.getpid() != 1:
        sys.exit("openshell-sandbox: the emulator's supervisor runs as the first process of a sandbox's container only")
    workdir = words[words.index("--workdir") + 1] if "--workdir" in words else "/sandbox"
    supervisor = os.fork()
    if supervisor:
        code = reap(supervisor)
        return code if code >= 0 else 128 - code
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        Supervisor(workdir).run()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    return 0
