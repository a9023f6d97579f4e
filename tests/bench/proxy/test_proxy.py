# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy (nginx, one worker, the configuration of hosts) against no proxy and against one in Node, in rounds one after the other: `make bench`.

What is asserted are ratios within this run: nginx is ahead of Node in every cell, or moves as much as no proxy. Absolute numbers are those of the machine.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import socket
import statistics
import subprocess
from pathlib import Path

import pytest

from tests.bed import images
from tests.bench.proxy import streams
from tests.proxy.backend import Backend
from tests.proxy.conftest import TOKEN, Nginx, eventually, free_port

ROUNDS = 3
SECONDS = 2.0
SMALL = {"GET 1": (1, ""), "GET 16": (16, ""), "GET 64": (64, ""), "POST 64": (64, 'wrk.method = "POST" wrk.body = string.rep("x", 1000)')}
STREAMS = {"saturated, 1": (0, 1), "saturated, 32": (0, 32), "5 ms a chunk, 1": (5, 1), "5 ms a chunk, 32": (5, 32)}
BACKEND = """
daemon off; {user} worker_processes 2; pid {directory}/pid; error_log stderr warn; events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {directory}/t; proxy_temp_path {directory}/t; fastcgi_temp_path {directory}/t;
  uwsgi_temp_path {directory}/t; scgi_temp_path {directory}/t; server {{ listen 127.0.0.1:{port} reuseport; location / {{ return 200 "hello\\n"; }} }} }}
"""


class Behind:
    """A backend, what stands before it, and the port of each."""

    def __init__(self, directory: Path, port: int):
        self.node_port = free_port()
        self.nginx = Nginx(directory, type("Port", (Backend,), {"__init__": lambda self: None, "port": port})())
        self.node = subprocess.Popen([shutil.which("node"), str(Path(__file__).with_name("proxy.js")), str(self.node_port), str(port), TOKEN])
        self.nginx.start(TOKEN)
        self.ports = {"direct": port, "node": self.node_port, "nginx": self.nginx.port}
        eventually(lambda: socket.socket().connect_ex(("127.0.0.1", self.node_port)) == 0)

    def stop(self) -> None:
        self.nginx.stop()
        self.node.kill()
        self.node.wait()


@pytest.fixture
def small(tmp_path_factory):
    """Before a backend that answers small requests."""
    directory, port = tmp_path_factory.mktemp("backend"), free_port()
    config = directory / "nginx.conf"
    config.write_text(BACKEND.format(directory=directory, port=port, user="user root;" if os.geteuid() == 0 else ""))
    backend = subprocess.Popen([*images.program("nginx"), "-e", "stderr", "-c", str(config)])
    eventually(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    behind = Behind(tmp_path_factory.mktemp("nginx"), port)
    yield behind
    behind.stop()
    backend.terminate()
    backend.wait()


@pytest.fixture
def streaming(tmp_path_factory):
    """Before a backend that streams."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    backends = [multiprocessing.get_context("fork").Process(target=streams.serve, args=(listener,), daemon=True) for _process in range(2)]
    for backend in backends:
        backend.start()
    behind = Behind(tmp_path_factory.mktemp("nginx"), listener.getsockname()[1])
    yield behind
    behind.stop()
    for backend in backends:
        backend.terminate()
        backend.join()


def requests_a_second(port: int, connections: int, script: Path) -> float:
    argv = [*images.program("wrk"), "--threads=1", f"--connections={connections}", f"--duration={SECONDS:.0f}s", "--header", f"Authorization: Bearer {TOKEN}"]
    done = subprocess.run([*argv, "--script", str(script), f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout
    return float(re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)[1])


def median(rounds: list[dict], target: str) -> float:
    return statistics.median(one[target] for one in rounds)


def shown(title: str, found: dict[str, float], unit: str) -> float:
    """Prints a cell; returns how far nginx is ahead of Node."""
    ratio = found["nginx"] / found["node"]
    print(f"{title:34} direct {found['direct']:10.2f}  node {found['node']:10.2f}  nginx {found['nginx']:10.2f} {unit:6} nginx / node {ratio:.2f}")
    return ratio


def test_small_requests(small, tmp_path, capsys):
    ratios = {}
    for name, (connections, text) in SMALL.items():
        script = tmp_path / "wrk.lua"
        script.write_text(text)
        rounds = [{target: requests_a_second(port, connections, script) for target, port in small.ports.items()} for _round in range(ROUNDS)]
        with capsys.disabled():
            ratios[name] = shown(name, {target: median(rounds, target) for target in small.ports}, "req/s")
    assert all(ratio > 1 for ratio in ratios.values()), ratios


def test_streams(streaming, capsys):
    behind = {}
    for name, (pause, count) in STREAMS.items():
        rounds = [{target: streams.read(port, TOKEN, pause, count, SECONDS) for target, port in streaming.ports.items()} for _round in range(ROUNDS)]
        for key, unit in (("rate", "MB/s"), ("first", "ms"), *([("delay", "ms")] if pause else [])):
            found = {target: statistics.median(one[target][key] for one in rounds) for target in streaming.ports}
            with capsys.disabled():
                ratio = shown(f"{name}: {key}", found, unit)
            # What is as fast as no proxy at all is not behind: a backend writes faster the less often it is listened to, which Node makes use of.
            as_fast = found["nginx"] > 0.9 * found["direct"] if key == "rate" else False
            if (ratio <= 1) == (key == "rate") and not as_fast:
                behind[f"{name}: {key}"] = ratio
    assert not behind
