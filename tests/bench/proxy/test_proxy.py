# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy (nginx, one worker, the configuration of hosts) against no proxy and against one in Node, in rounds one after the other: `make bench`.

What is asserted are ratios within this run: nginx is ahead of Node in every cell that a proxy limits. Absolute numbers are those of the machine.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import socket
import statistics
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.bed import images
from tests.bench.proxy import streams
from tests.proxy.backend import Backend
from tests.proxy.conftest import TOKEN, Nginx, eventually, free_port

ROUNDS = 3
SECONDS = 2.0
FIRSTS = 9  # rounds of what takes no time
SMALL = {"GET 1": (1, ""), "GET 16": (16, ""), "GET 64": (64, ""), "POST 64": (64, 'wrk.method = "POST" wrk.body = string.rep("x", 1000)')}
STREAMS = (1, 32)
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


def medians(one: t.Callable[[int], float], ports: dict[str, int], rounds: int = ROUNDS) -> dict[str, float]:
    """What is measured through each port, in turn."""
    found = [{target: one(port) for target, port in ports.items()} for _round in range(rounds)]
    return {target: statistics.median(round_[target] for round_ in found) for target in ports}


def behind_node(cell: str, found: dict[str, float], unit: str, faster: bool) -> dict[str, float]:
    """Prints a cell. Empty where nginx is ahead of Node, else the cell with the ratio."""
    ratio = found["nginx"] / found["node"]
    print(f"{cell:34} direct {found['direct']:10.2f}  node {found['node']:10.2f}  nginx {found['nginx']:10.2f} {unit:6} nginx / node {ratio:.2f}")
    return {} if (ratio > 1) == faster else {cell: ratio}


def test_small_requests(small, tmp_path, capsys):
    behind = {}
    for name, (connections, text) in SMALL.items():
        script = tmp_path / "wrk.lua"
        script.write_text(text)
        found = medians(lambda port, connections=connections, script=script: requests_a_second(port, connections, script), small.ports)
        with capsys.disabled():
            behind |= behind_node(name, found, "req/s", True)
    assert not behind


def test_saturated_streams(streaming, capsys):
    """A backend that is always ahead of its reader: the proxy is what limits these."""
    behind = {}
    with capsys.disabled():
        for count in STREAMS:
            rate = medians(lambda port, count=count: streams.rate(port, TOKEN, streams.AHEAD, count, SECONDS), streaming.ports)
            behind |= behind_node(f"saturated, {count}: rate", rate, "MB/s", True)
            assert rate["direct"] > 1.2 * max(rate["nginx"], rate["node"]), "not saturated"
            first = medians(lambda port, count=count: streams.first_byte(port, TOKEN, f"/{streams.AHEAD}/0", count), streaming.ports, FIRSTS)
            behind |= behind_node(f"saturated, {count}: first byte", first, "ms", False)
    assert not behind


def test_a_chunk_a_call(streaming, capsys):
    """The backend is what limits these, and it writes faster the less often somebody listens: a slow reader gains by it. As fast as no proxy is not behind."""
    with capsys.disabled():
        for count in STREAMS:
            found = medians(lambda port, count=count: streams.rate(port, TOKEN, 1, count, SECONDS), streaming.ports)
            assert behind_node(f"a chunk a call, {count}: rate", found, "MB/s", True) == {} or found["nginx"] > 0.9 * found["direct"]


def test_streams_with_pauses(streaming, capsys):
    behind = {}
    with capsys.disabled():
        for count in STREAMS:
            first = medians(lambda port, count=count: streams.first_byte(port, TOKEN, "/1/5", count), streaming.ports, FIRSTS)
            behind |= behind_node(f"5 ms a chunk, {count}: first byte", first, "ms", False)
            late: dict[str, list[float]] = {target: [] for target in streaming.ports}
            for _round in range(FIRSTS):  # in turn: together they would wait for each other's processor
                for target, port in streaming.ports.items():
                    late[target] += streams.delays(port, TOKEN, 5, count, SECONDS / 2)
            for name, rank in (("median", 50), ("99th", 99)):
                delay = {target: statistics.quantiles(late[target], n=100)[rank - 1] for target in streaming.ports}
                behind |= behind_node(f"5 ms a chunk, {count}: delay, {name}", delay, "ms", False)
    assert not behind
