# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry says to the client that asks it without the engine, and what an engine says of one."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from types import SimpleNamespace

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import client, pull
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.registry import Registry as Client
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.registry import RegistryError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from tests.unit.image_registry import Registry, digest

KEY = "nvapi-canary-0123456789"
INSECURE = {"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}}
BASIC, BEARER = 'Basic realm="Artifactory Realm"', 'Bearer realm="http://{host}/token",service="{host}"'


@contextlib.contextmanager
def running(**options):
    with Registry(**options) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def registry():
    with running() as server:
        server.password = KEY
        yield server


def asks(registry, password=KEY) -> Client:
    return Client(registry.host, "$oauthtoken", password, INSECURE)


@pytest.mark.parametrize("challenges", [BASIC, BEARER, f"{BEARER}, {BASIC}", f"{BASIC}, {BEARER}"])
def test_schemes(registry, challenges):
    """A token where one can be had, else user and password."""
    registry.challenges = challenges
    asks(registry).check()
    assert asks(registry).manifest("agent", "1").digest == digest(registry.manifest)
    with pytest.raises(RegistryError, match="HTTP status 401") as raised:
        asks(registry, "nvapi-wrong").check()
    assert raised.value.kind == "unauthorized"


def test_what_an_account_may_not_do(registry):
    registry.forbidden = True
    asks(registry).check()
    with pytest.raises(RegistryError, match=r"HTTP status 403: requested access .* denied\. .*accept the licence of this image") as raised:
        asks(registry).manifest("agent", "1")
    assert raised.value.kind == "forbidden"


@pytest.mark.parametrize(
    ("ahead", "said"), [(3600, r"clock is 3\d\d\d s behind"), (-3600, r"clock is 36\d\d s ahead of"), (5, "it has expired, or is not for")]
)
def test_a_token_that_is_not_taken(registry, ahead, said):
    """Where the clocks are apart, that is why."""
    registry.expired, registry.ahead = True, ahead
    with pytest.raises(RegistryError, match=said) as raised:
        asks(registry).manifest("agent", "1")
    assert raised.value.kind == "token"
    assert ("timedatectl" in raised.value.remedy) == (abs(ahead) > 60)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_an_insecure_registry_that_speaks_tls_is_asked_over_tls_again(tmp_path):
    """A limit is an answer: what gave it speaks TLS."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-out", "ca.crt", "-days", "2", "-subj", "/CN=127.0.0.1"]
    key = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    (tmp_path / "both.pem").write_bytes(key + (tmp_path / "ca.crt").read_bytes())
    with running(certificate=str(tmp_path / "both.pem")) as server:
        server.limited, server.retry_after = 1, "0"
        with pytest.raises(RegistryError) as raised:
            asks(server).manifest("agent", "1")
        assert (raised.value.kind, raised.value.wait) == ("limited", 0)
        assert asks(server).manifest("agent", "1").digest == digest(server.manifest)


# --- what an engine says of a pull ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(monkeypatch):
    """One whose pulls say what is put into it, one after the other, and then succeed; with how long was waited between them."""
    said, waited = [], []

    def events(*_names, **_options):
        return [{"error": said.pop(0)}] if said else [{"status": "Pull complete"}]

    monkeypatch.setattr(pull, "watched", lambda timeout: SimpleNamespace(pull=events, close=lambda: None))
    monkeypatch.setattr(pull, "connect", lambda: SimpleNamespace(info=lambda: INSECURE))
    monkeypatch.setattr(pull.time, "sleep", waited.append)
    return SimpleNamespace(said=said, waited=waited)


@pytest.mark.parametrize(
    "text",
    [
        "unexpected EOF",
        "read tcp 10.0.0.2:51234->10.0.0.3:443: read: connection reset by peer",
        "net/http: TLS handshake timeout",
        "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        "stream error: stream ID 7; INTERNAL_ERROR; received from peer",
        'http2: server sent GOAWAY and closed the connection; LastStreamID=1999, ErrCode=NO_ERROR, debug=""',
        "http2: client connection lost",
        "received unexpected HTTP status: 503 Service Unavailable",
        "filesystem layer verification failed for digest sha256:00",
    ],
)
def test_what_passes_is_tried_again(engine, text):
    engine.said += [text, text]
    assert pull.pull(pull.Order("registry.example/agent:1")).tries == 3
    assert engine.waited == [2, 4]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("manifest for registry.example/agent:1 not found: manifest unknown: manifest unknown", pull.REMEDY),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", pull.TRUST),
    ],
)
def test_what_does_not_pass_is_said_at_once(engine, text, remedy):
    engine.said += [text]
    with pytest.raises(client.EngineError) as raised:
        pull.pull(pull.Order("registry.example/agent:1"))
    assert text in raised.value.message
    assert (raised.value.remedy, engine.waited) == (remedy, [])


def test_what_is_given_up_says_how_often_it_was_tried(engine):
    engine.said += ["unexpected EOF"] * 2
    with pytest.raises(pull.Passing, match=r"unexpected EOF \(2 tries\)"):
        pull.pull(pull.Order("registry.example/agent:1", retries=1))


def test_an_engine_that_is_refused_has_the_registry_say_why(engine, registry):
    """The engine's own words are the same for a key that is wrong and for a licence that was not accepted."""
    order = pull.Order(f"{registry.host}/agent:1", auth={"username": "$oauthtoken", "password": KEY})
    registry.forbidden = True
    engine.said += ["pull access denied for agent, repository does not exist or may require 'docker login'"]
    with pytest.raises(RegistryError, match="accept the licence") as raised:
        pull.pull(order)
    assert raised.value.kind == "forbidden"
    registry.forbidden = False
    engine.said += ["unauthorized: authentication required"]  # the registry lets us in: a token that ran out on the way
    assert pull.pull(order).tries == 2


def test_how_long_a_limit_is_is_asked_of_the_registry(engine, registry):
    registry.limited, registry.retry_after = 1, "7"
    engine.said += ["toomanyrequests: slow down"]
    assert pull.pull(pull.Order(f"{registry.host}/agent:1", auth={"username": "$oauthtoken", "password": KEY})).tries == 2
    assert engine.waited == [7]


def test_a_full_disk_is_not_waited_for(engine, monkeypatch):
    monkeypatch.setattr(client, "connect", lambda: SimpleNamespace(info=lambda: {"DockerRootDir": "/var/lib/docker"}))
    engine.said += ["write /var/lib/docker/tmp/GetImageBlob1: no space left on device"]
    with pytest.raises(ResourceError, match="is full"):
        pull.pull(pull.Order("registry.example/agent:1"))
    assert engine.waited == []
