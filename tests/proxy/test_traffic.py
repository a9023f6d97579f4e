# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to requests under way: streams, clients and backends that go, large and hostile ones, many at once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.proxy.conftest import OTHER, TOKEN, eventually

BEARER = f"Authorization: Bearer {TOKEN}\r\n"


def connect(nginx, path, extra=""):
    connection = socket.create_connection(("127.0.0.1", nginx.port), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{BEARER}{extra}\r\n".encode())
    return connection


def descriptors(nginx) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in nginx.workers())


def memory_kb(nginx) -> int:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4 for pid in nginx.workers())


# --- streams ------------------------------------------------------------------------------------------------------------------------------


def test_a_stream_passes_chunk_by_chunk(nginx):
    answer = nginx.ask("/slow/20")
    delays = []
    while len(delays) < 20:
        if words := answer.readline().split():
            delays.append(time.monotonic() - float(words[2]))
    assert max(delays) < 1  # kept back until a buffer is full, it would be seconds
    assert sorted(delays)[10] < 0.3


@pytest.mark.parametrize("path", ["/slow/10", "/silent"])
def test_a_client_that_goes_cancels_its_request(nginx, backend, path):
    connection = connect(nginx, path)
    asked = eventually(lambda: backend.asked and backend.asked[0])
    if path != "/silent":
        eventually(lambda: asked.chunks > 3)
    connection.close()
    eventually(lambda: asked.ended == "cut")


def test_a_client_that_goes_while_it_uploads_cancels_it(nginx, backend):
    connection = socket.create_connection(("127.0.0.1", nginx.port))
    connection.sendall(f"POST /v1/x HTTP/1.1\r\nHost: x\r\n{BEARER}Content-Length: 1000000\r\n\r\n".encode() + b"x" * 1000)
    eventually(lambda: backend.asked and backend.asked[0].body)  # it is not kept back until it is whole
    connection.close()
    eventually(lambda: backend.asked[0].ended == "cut")


def test_a_hundred_clients_that_go_leave_nothing(nginx, backend):
    nginx.ask()
    base = descriptors(nginx)
    connections = [connect(nginx, "/slow/10") for _client in range(100)]
    eventually(lambda: len([asked for asked in backend.asked if asked.chunks]) == 100)
    assert descriptors(nginx) > base + 190
    for connection in connections:
        connection.close()
    eventually(lambda: descriptors(nginx) <= base)
    eventually(lambda: all(asked.ended for asked in backend.asked))


# --- backends -----------------------------------------------------------------------------------------------------------------------------


def test_streams_end_when_the_backend_is_killed(nginx, backend):
    answers = [nginx.ask("/slow/10") for _client in range(8)]
    for answer in answers:
        answer.readline()
    began = time.monotonic()
    backend.gone()
    for answer in answers:
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert time.monotonic() - began < 10  # they would go on for longer
    assert nginx.ask(token="").status == 401
    silent = nginx.ask()
    assert silent.status == 502
    assert "ollama" in json.loads(silent.read())["error"]["message"]


def test_a_stream_that_the_backend_resets_ends_alone(nginx):
    other = nginx.ask("/slow/10")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        nginx.ask("/reset/1").read()
    assert other.readline()
    assert nginx.ask().status == 200


@pytest.mark.parametrize("nginx", [{"timeout": 1}], indirect=True)
def test_a_backend_that_says_nothing_is_given_up(nginx, backend):
    began = time.monotonic()
    assert nginx.ask("/silent").status == 504
    assert 0.9 < time.monotonic() - began < 10
    eventually(lambda: backend.asked[0].ended == "cut")


# --- sizes --------------------------------------------------------------------------------------------------------------------------------


def test_a_large_body_takes_no_memory(nginx, backend):
    nginx.ask()
    before = memory_kb(nginx)
    peak = []
    done = threading.Event()

    def watch():
        while not done.wait(0.02):
            peak.append(memory_kb(nginx))

    watcher = threading.Thread(target=watch)
    watcher.start()
    size = 100 << 20
    answer = nginx.ask("/v1/x", method="POST", headers={"Content-Length": str(size)}, body=(b"x" * (1 << 20) for _block in range(100)))
    done.set()
    watcher.join()
    assert answer.status == 200
    assert backend.asked[-1].body == size
    assert max(peak) - before < 4000


@pytest.mark.parametrize("nginx", [{"body_mb": 1}], indirect=True)
def test_a_body_beyond_the_limit_is_refused(nginx, backend):
    assert nginx.ask("/v1/x", method="POST", body=b"x" * (1 << 20)).status == 200
    assert nginx.raw(f"POST /v1/y HTTP/1.1\r\nHost: x\r\n{BEARER}Content-Length: 1048577\r\n\r\n".encode()) == 413
    assert [asked.path for asked in backend.asked] == ["/v1/x"]


@pytest.mark.parametrize(("size", "status"), [(9_000, 200), (20_000, 400)])
def test_headers_have_a_limit(nginx, backend, size, status):
    assert nginx.ask(headers={"X-Long": "x" * size}).status == status
    assert len(backend.asked) == (status == 200)


# --- hostile ones -------------------------------------------------------------------------------------------------------------------------


def test_a_trailer_passes(nginx, backend):
    request = (
        f"POST /v1/x HTTP/1.1\r\nHost: x\r\n{BEARER}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    assert nginx.raw(request.encode()) == 200
    assert backend.asked[0].body == 4
    assert nginx.ask().status == 200


@pytest.mark.parametrize(
    ("lines", "statuses"),
    [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", {400}), ("Content-Length: 4\r\nContent-Length: 5\r\n", {400}),
        ("Content-Length: -1\r\n", {400}),
        ("Transfer-Encoding: x\r\n", {501}), ("Host: y\r\n", {400}), (" folded: x\r\n", {400}), ("X: \x00\r\n", {400}), ("No colon\r\n", {200, 400}),
        ("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n", {200}), ("Expect: 100-continue\r\n", {100}), ("Range: bytes=0-,0-,0-\r\n", {200}),
    ],
)  # fmt: skip
def test_hostile_headers_hurt_nobody(nginx, lines, statuses):
    pid = nginx.workers()
    assert nginx.raw(f"GET /v1/x HTTP/1.1\r\nHost: x\r\n{BEARER}{lines}Connection: close\r\n\r\n".encode("latin-1")) in statuses
    assert nginx.ask().status == 200
    assert nginx.workers() == pid


def test_a_thousand_idle_connections_are_in_nobodys_way(nginx):
    idle = [socket.create_connection(("127.0.0.1", nginx.port)) for _client in range(1000)]
    began = time.monotonic()
    assert nginx.ask().status == 200
    assert time.monotonic() - began < 5
    for connection in idle:
        connection.close()


# --- the proxy itself ---------------------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced(nginx):
    stream = nginx.ask("/slow/10")
    stream.readline()
    (worker,) = nginx.workers()
    os.kill(worker, signal.SIGKILL)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        stream.read()
    eventually(lambda: nginx.workers() and nginx.workers() != [worker])
    assert nginx.ask().status == 200


def test_a_reload_ends_no_stream_and_fails_no_request(nginx):
    """Clients that ask again and again in connections that they keep; while one stream goes on through two reloads."""
    stream = nginx.ask("/slow/10")
    failed, counted, done = [], [0], threading.Event()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=10)
        while not done.is_set():
            try:
                connection.request("POST", "/v1/x", body=b"{}", headers={"Authorization": f"Bearer {TOKEN}"})
                answer = connection.getresponse()
                answer.read()
                counted[0] += 1
                if answer.status != 200:
                    failed.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                failed.append(error)
                connection.close()

    clients = [threading.Thread(target=client) for _client in range(8)]
    for thread in clients:
        thread.start()
    for tokens in ((TOKEN, OTHER), (TOKEN,)):
        nginx.reload(*tokens)
    eventually(lambda: counted[0] > 100)
    done.set()
    for thread in clients:
        thread.join()
    assert not failed
    now = time.monotonic()
    while not (words := stream.readline().split()) or float(words[2]) < now:
        pass


def test_a_configuration_that_nginx_refuses_leaves_the_one_before(nginx):
    (nginx.directory / "nginx.conf").write_text("nonsense;")
    nginx.process.send_signal(signal.SIGHUP)
    eventually(lambda: 'unknown directive "nonsense"' in nginx.log.read_text() or "unexpected end of file" in nginx.log.read_text())
    assert nginx.ask().status == 200
