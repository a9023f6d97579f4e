# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image is pulled, from where, and what happens when the registry does not play along; on the engine of this machine."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ssl
import subprocess
import threading
import time

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import client, manifests, pull, reference
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.image import Image
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.registry import Registry as Client
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.registry import RegistryError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from tests.unit.image_registry import Registry, digest

NOW = datetime.datetime(2026, 1, 1, 12, 0, 0, tzinfo=datetime.timezone.utc)
MIRRORS = {"nvcr.io": "mirror.example:5000/nvcr", "nvcr.io/nim": "nim.example/"}


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("nvcr.io/nvidia/vllm:1", "mirror.example:5000/nvcr/nvidia/vllm:1"),
        ("nvcr.io/nim/meta/a@sha256:00", "nim.example/meta/a@sha256:00"),
        ("nvcr.io.example/a:1", "nvcr.io.example/a:1"),
        ("debian:12", "debian:12"),
    ],
)
def test_mirrors(text, mirrored):
    assert reference.mirrored(text, MIRRORS) == mirrored


@pytest.mark.parametrize(
    ("text", "host"), [("nvcr.io/a/b:1", "nvcr.io"), ("localhost/a", "localhost"), ("h:5000/a@sha256:00", "h:5000"), ("a/b:1", ""), ("debian:12", "")]
)
def test_registry_of_a_reference(text, host):
    assert reference.registry_of(text) == host


@pytest.mark.parametrize(
    ("header", "scheme", "values"),
    [
        (
            'Bearer realm="https://nvcr.io/proxy_auth",scope="repository:nim/a:pull,push",service=nvcr.io',
            "bearer",
            {"realm": "https://nvcr.io/proxy_auth", "scope": "repository:nim/a:pull,push", "service": "nvcr.io"},
        ),
        ('Basic realm="a, b"', "basic", {"realm": "a, b"}),
        (
            'Bearer realm="https://a.example/token", service="a", Basic realm="Artifactory Realm"',
            "bearer",
            {"realm": "https://a.example/token", "service": "a"},
        ),
        ('Basic realm="Artifactory Realm", Bearer realm="https://a.example/token"', "bearer", {"realm": "https://a.example/token"}),
        ('Negotiate, Basic realm="x = y, Bearer z"', "basic", {"realm": "x = y, Bearer z"}),
        ("Negotiate abc==", "", {}),
        ("", "", {}),
    ],
)
def test_challenges(header, scheme, values):
    assert manifests.challenge(header) == (scheme, values)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), ("Thu, 01 Jan 2026 12:00:07 GMT", 7), ("Thu, 01 Jan 2026 11:00:00 GMT", 0), ("86400", manifests.LONGEST_WAIT), ("soon", 5), (None, 5)],
)
def test_waiting_times(header, seconds):
    assert manifests.retry_after(header, NOW, 5) == seconds


def test_what_an_index_holds():
    """Notes on images are left out, however they are marked; what arm64 means is said in full."""
    entries = [
        {"digest": "a", "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": "b", "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": "c", "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": "d", "platform": {"os": "linux", "architecture": "amd64"}, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        {"digest": "e"},
    ]
    assert manifests.platforms({"manifests": entries}) == {"linux/arm64/v8": "a", "linux/amd64": "b"}


@pytest.fixture
def registry():
    try:
        engine = client.connect()
    except client.EngineUnavailable as error:
        pytest.skip(str(error))
    with Registry() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()
    for found in [image for image in engine.images() if any(server.host in name for name in (image["RepoDigests"] or []) + (image["RepoTags"] or []))]:
        with contextlib.suppress(client.docker.errors.APIError):
            engine.remove_image(found["Id"], force=True)


def make(name, **desired):
    """What is there after the module's work."""
    image = Image({"name": name, "source": "pull", **desired})
    image.apply({}, image.diff({}))
    assert image.changes() == []
    return image.read()


def test_the_image_of_the_hosts_platform(registry):
    """By its digest, so that the engine does not look at the other entries, and with the wanted name."""
    name = f"{registry.host}/agent:many"
    state = make(name, platform="host")
    assert state["platform"] == "linux/amd64"
    assert state["tags"] == [name]
    tag, *rest = [entry for _when, entry in registry.asked]
    assert tag == "many"
    assert set(rest) == {digest(registry.manifest)}


def test_a_single_manifest(registry):
    assert make(f"{registry.host}/agent:1", platform="host")["platform"] == "linux/amd64"


def test_no_image_for_this_platform(registry):
    with pytest.raises(ResourceError, match=r"has no image for linux/amd64; it has linux/arm64/v8\."):
        make(f"{registry.host}/agent:foreign", platform="host")
    with pytest.raises(ResourceError, match=r"is for linux/amd64, not for linux/arm64/v8"):
        make(f"{registry.host}/agent:1", platform="linux/arm64")


def test_another_platform_under_the_name_is_a_difference(registry):
    name = f"{registry.host}/agent:1"
    make(name)
    changes = Image({"name": name, "source": "pull", "platform": "linux/arm64"}).changes()
    assert [(change.field, change.before, change.after) for change in changes] == [("platform", "linux/amd64", "linux/arm64/v8")]


@pytest.mark.parametrize("platform", ["", "host"])
def test_a_mirror_gives_the_image_and_the_wanted_name_stays(registry, platform):
    wanted = f"nvcr.example/{registry.server_port}/agent:1"
    state = make(wanted, platform=platform, mirrors={f"nvcr.example/{registry.server_port}": registry.host})
    assert wanted in state["tags"]
    client.connect().remove_image(wanted)


def test_a_mirror_and_a_digest(registry):
    exact = digest(registry.manifest)
    state = make(f"nvcr.example/agent@{exact}", mirrors={"nvcr.example": registry.host})
    assert state["digests"] == [f"{registry.host}/agent@{exact}"]
    gone = Image({"name": f"nvcr.example/agent@{exact}", "mirrors": {"nvcr.example": registry.host}, "state": "absent"})
    gone.apply(gone.read(), gone.changes())
    assert gone.read() == {}


@pytest.mark.parametrize(("platform", "limited"), [("", 3), ("host", 1)])
def test_a_limit_is_waited_for(registry, platform, limited):
    """As long as the registry asks for, whether it told us, or the engine, which asks twice."""
    registry.limited, registry.retry_after = limited, "3"
    make(f"{registry.host}/agent:1", platform=platform)
    times = [when for when, _entry in registry.asked]
    assert max(later - earlier for earlier, later in zip(times, times[1:])) >= 2.9


def test_a_limit_without_end_is_given_up(registry):
    registry.limited, registry.retry_after = 99, "0"
    with pytest.raises(ResourceError, match=r"limits the number of requests: slow down \(2 tries\)\. Wait, or use credentials or a mirror"):
        make(f"{registry.host}/agent:1", platform="host", retries=1)


def test_a_stall_is_tried_again(registry):
    registry.stalls = 1
    order = pull.Order(f"{registry.host}/agent:1", stall_timeout=6, retries=1)
    assert pull.pull(order).tries == 2


def test_credentials(registry):
    """Good ones pull; a wrong key, none and an expired token are three different messages."""
    registry.password = "good-key"
    name, good = f"{registry.host}/agent:many", {"username": "$oauthtoken", "password": "good-key"}
    with pytest.raises(RegistryError, match=r"does not accept the credentials of \$oauthtoken.*Invalid user or API key\. Give a valid user") as raised:
        make(name, platform="host", auth={**good, "password": "bad-key"})
    assert raised.value.kind == "unauthorized"
    assert "bad-key" not in str(raised.value)
    with pytest.raises(RegistryError, match=r"credentials of nobody.*Give a user and a password"):
        make(name, platform="host")
    registry.expired = True
    with pytest.raises(RegistryError, match=r"does not accept the token .*\(invalid_token\): it has expired") as raised:
        make(name, platform="", auth=good)
    assert raised.value.kind == "token"
    registry.expired = False
    assert make(name, platform="host", auth=good)["tags"] == [name]


def test_what_is_no_registry(registry):
    with pytest.raises(RegistryError, match="nothing listens") as raised:
        Client("127.0.0.1:9", "a", "b", client.connect().info()).check()
    assert raised.value.kind == "unreachable"
    with pytest.raises(RegistryError, match="does not speak TLS") as raised:  # nobody said that it is insecure
        Client(registry.host, "a", "b").check()
    assert raised.value.kind == "tls"


@pytest.mark.parametrize("platform", ["", "host"])
def test_a_credential_helper_that_is_not_there(registry, tmp_path, monkeypatch, platform):
    (tmp_path / "config.json").write_text('{"credsStore": "nowhere"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.warns(UserWarning, match="nowhere"), pytest.raises(ResourceError, match=r"docker-credential-nowhere not installed.*Install the helper"):
        make(f"{registry.host}/agent:1", platform=platform)


def test_the_engines_proxy():
    """As the engine has it: not for the loopback, and not for what it was told to leave out."""
    info = {"HttpProxy": "http://proxy.example:3128", "HttpsProxy": "http://proxy.example:3128", "NoProxy": "mirror.example"}
    asked = {host: bool(Client(host, info=info)._proxies(f"https://{host}/v2/")) for host in ("nvcr.io", "mirror.example:5000", "localhost:5000", "127.0.0.1")}
    assert asked == {"nvcr.io": True, "mirror.example:5000": False, "localhost:5000": False, "127.0.0.1": False}


def test_a_login_waits_as_long_as_it_is_asked_to():
    info = {"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}}
    with Registry() as server:
        server.password, server.limited, server.retry_after = "good-key", 1, "2"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        began = time.monotonic()
        Client(server.host, "$oauthtoken", "good-key", info).check()
        assert time.monotonic() - began >= 2
        server.limited, server.retry_after = 99, "0"
        with pytest.raises(RegistryError, match="limits the number of requests: slow down") as raised:
            Client(server.host, "$oauthtoken", "good-key", info).check()
        assert (raised.value.kind, server.limited) == ("limited", 95)
        server.shutdown()


class Tunnel(http.server.BaseHTTPRequestHandler):
    """A proxy that opens TLS: whatever host is asked for, it is the one, with its own certificate."""

    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.certificate)
        with context.wrap_socket(self.connection, server_side=True) as inner:
            inner.recv(65536)
            inner.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        self.close_connection = True


def test_a_proxy_that_opens_tls(tmp_path, monkeypatch):
    """Its authority is where the engine looks for it."""
    folder = tmp_path / "nvcr.example"
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "ca.crt", "-days", "2", "-subj", "/CN=nvcr.example",
         "-addext", "subjectAltName=DNS:nvcr.example"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setattr("ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.registry.CERTIFICATES", str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tunnel) as proxy:
        proxy.certificate = tmp_path / "both.pem"
        proxy.certificate.write_text((folder / "ca.crt").read_text() + (folder / "key.pem").read_text())
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        Client("nvcr.example", "a", "b", {"HttpsProxy": f"http://127.0.0.1:{proxy.server_port}"}).check()
        proxy.shutdown()
