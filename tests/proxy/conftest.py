# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real nginx with the configuration that hosts get, before a backend of ours. On the loopback, as this machine's own user, in a directory of the test."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import proxy as serving
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import proxy as planning
from tests.bed import images
from tests.proxy.backend import Backend

TOKEN = "0123456789abcdefabcdef0123456789fedcba9876543210"
OTHER = "fedcba98765432100123456789abcdeffedcba9876543210"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def eventually(condition, timeout=15.0):
    """The condition's value once it is true; the test fails when it does not become so."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.02)
    return value


@dataclass
class Nginx:
    """One nginx of its own directory. It is started by hand; on hosts systemd does that."""

    directory: Path
    backend: Backend
    settings: dict = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def socket(self) -> str:
        return str(self.directory / "status.sock")

    def config(self) -> str:
        """nginx.conf as a plan has it, for this directory and in the foreground."""
        variables = {
            "nemoclaw_gateway": {"name": "test", "port": 8080, "subnet": "172.30.200.0/24"},
            "nemoclaw_inference": {},
            "nemoclaw_proxy": {"address": "127.0.0.1", "port": self.port, **self.settings},
        }
        blueprint = Blueprint()
        variables["nemoclaw_proxy"] = planning.completed(variables, blueprint, {"ollama": f"http://127.0.0.1:{self.backend.port}"})
        made = planning.desired(variables, blueprint)["resources"]
        config = next(entry["config"] for entry in made if entry["resource"] == "proxy")
        text = config.replace("/run/test-proxy", str(self.directory)).replace("        listen 172.30.200.1", "        # listen 172.30.200.1")
        return f"daemon off;\n{'user root;' if os.geteuid() == 0 else ''}\n{text}"

    def configure(self, *tokens: str) -> None:
        (self.directory / "nginx.conf").write_text(self.config())
        (self.directory / "accepted.conf").write_text(serving.accepted(tokens, self.socket, "-".join(token[:4] for token in tokens), False))

    def start(self, *tokens: str) -> None:
        self.configure(*tokens)
        self.run("nginx.conf")

    def run(self, config: str) -> None:
        argv = [*images.program("nginx"), "-e", "stderr", "-c", str(self.directory / config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(lambda: serving.running(self.socket))

    def reload(self, *tokens: str) -> None:
        """As the unit does it."""
        self.configure(*tokens)
        (self.directory / "drain").touch()
        time.sleep(2)
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: serving.running(self.socket) == "-".join(token[:4] for token in tokens))
        time.sleep(0.3)
        (self.directory / "drain").unlink()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    def workers(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def ask(self, path="/v1/models", token=TOKEN, method="GET", headers=None, body=None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body=body, headers={**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})})
        return connection.getresponse()

    def raw(self, request: bytes) -> int:
        """The status that a request gets, byte for byte."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request)
            return int(connection.makefile("rb").readline().split()[1])


@pytest.fixture
def backend():
    backend = Backend()
    yield backend
    backend.gone()


@pytest.fixture
def nginx(backend, request, tmp_path_factory):
    """Started with one token; C(settings) of nemoclaw_proxy by a marker's argument."""
    found = Nginx(tmp_path_factory.mktemp("nginx"), backend, getattr(request, "param", {}))
    found.start(TOKEN)
    yield found
    found.stop()
    assert TOKEN not in found.log.read_text()
