# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama as its host sees it; on h2 it is the user's own, which listened on all addresses."""

import json
import time

import pytest


@pytest.fixture(autouse=True)
def ready(host):
    """A host that has just booted is given a minute."""
    deadline = time.monotonic() + 60
    while host.run("curl -sf -m 5 http://127.0.0.1:11434/api/version").rc:
        assert time.monotonic() < deadline, "Ollama does not answer"
        time.sleep(0.5)


def test_service(host):
    assert host.service("ollama").is_running
    assert host.service("ollama").is_enabled
    assert host.file("/etc/systemd/system/ollama.service").contains("Made by nemoclaw.fleet") == (not host.file("/root/.ollama").exists)


def test_it_listens_on_the_loopback_alone(host):
    assert host.check_output("ss -ltnH 'sport = :11434'").split()[3] == "127.0.0.1:11434"
    assert "OLLAMA_KEEP_ALIVE=20m" in host.check_output("systemctl show --value -p Environment ollama")


def test_the_model_answers(host):
    request = json.dumps({"model": "tiny-agent", "messages": [{"role": "user", "content": "ping"}], "stream": False})
    said = json.loads(host.check_output("curl -fsS -m 60 http://127.0.0.1:11434/api/chat -d %s", request))
    assert said["message"]["content"] == "pong from tiny-agent"
