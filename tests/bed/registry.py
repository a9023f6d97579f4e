# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nvcr.io of a bed: Debian's docker-registry with token auth, behind TLS by an authority of its own, with the faults that a registry has on bad days."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import uuid
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import images
from .paths import CACHE, TESTS
from .shell import docker, run

KIT = TESTS / "kit"
NAME = "nvcr.io"
USER = "$oauthtoken"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LARGE = 1 << 20  # bytes of an answer that may be cut
HOSTS_FILE = "/etc/hosts"
AUTHORITY = "/usr/local/share/ca-certificates/bed-registry.crt"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Certificates:
    """An authority, and a certificate of it for the registry's name."""

    def __init__(self, directory: Path):
        self.key = directory / "server.key"
        self.chain = directory / "server.crt"
        authority, self.authority = self._make("Authority of the test bed")
        self.private, own = self._make(NAME, authority, self.authority)
        kind = serialization.PrivateFormat.TraditionalOpenSSL
        self.key.write_bytes(self.private.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()))
        self.chain.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    @property
    def authority_text(self) -> str:
        return self.authority.public_bytes(serialization.Encoding.PEM).decode()

    @staticmethod
    def _make(name, issuer_key=None, issuer=None):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder(
            issuer_name=issuer.subject if issuer else subject,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=30),
        ).add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        if issuer:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        return key, builder.sign(issuer_key or key, hashes.SHA256())

    def token(self, access: list[dict], seconds: int) -> str:
        """A token as the registry wants it (libtrust's key id, RS256)."""
        public = self.private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digits = base64.b32encode(hashlib.sha256(public).digest()[:30]).decode()
        header = {"typ": "JWT", "alg": "RS256", "kid": ":".join(digits[i : i + 4] for i in range(0, 48, 4))}
        now = int(time.time())
        claims = {"iss": "bed", "sub": USER, "aud": NAME, "exp": now + seconds, "nbf": now - 7200, "iat": now - 7200, "jti": uuid.uuid4().hex, "access": access}
        text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
        signature = self.private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


class Registry:
    """Serves at ``address``:443, as the hosts of a bed reach this machine. Attributes are the faults; ``asked`` is what came, as (time, method, path, status).

    The first ``limited`` requests of manifests get status 429 with ``retry_after`` seconds; ``cut`` large answers break off in the middle; tokens are from
    yesterday while ``expired``.
    """

    def __init__(self, address: str, key: str):
        self.address, self.password = address, key
        self.limited, self.retry_after, self.cut, self.expired = 0, 2, 0, False
        self.asked: list[tuple[float, str, str, int]] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Registry:
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bed-registry-")))
        self.certificates = Certificates(directory)
        self.port, self.open_port = free_ports(2)
        token = {"realm": f"https://{NAME}/proxy_auth", "service": NAME, "issuer": "bed", "rootcertbundle": str(self.certificates.chain)}
        self._serve(directory, "guarded", self.port, {"auth": {"token": token}})
        self._serve(directory, "open", self.open_port, {})  # the same images, to push them
        front = Front((self.address, 443), type("Handler", (Handler,), {"registry": self}))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificates.chain, self.certificates.key)
        front.socket = context.wrap_socket(front.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=front.serve_forever, daemon=True).start()
        self._stack.callback(front.server_close)
        self._stack.callback(front.shutdown)
        return self

    def __exit__(self, *_error) -> None:
        self._stack.close()

    def _serve(self, directory: Path, name: str, port: int, more: dict) -> None:
        config = directory / f"{name}.yml"
        storage = {"filesystem": {"rootdirectory": str(directory / "data")}}
        config.write_text(json.dumps({"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": f"127.0.0.1:{port}"}, **more}))
        program = images.extracted(CACHE / "docker-registry", "bookworm", ("docker-registry",)) / "usr/bin/docker-registry"
        process = subprocess.Popen([program, "serve", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        for _try in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"{program} does not listen on port {port}")

    # --- what it holds --------------------------------------------------------------------------------------------------------------------

    def push(self, image: str, repository: str, tag: str) -> str:
        """An image of this machine's engine, as a single manifest; its digest."""
        here = f"127.0.0.1:{self.open_port}/{repository}:{tag}"
        docker("tag", image, here)
        try:
            docker("push", "--quiet", here)
        finally:
            docker("rmi", here, check=False)
        return self.put(repository, tag, self._get(repository, tag), MANIFEST)

    def index(self, repository: str, tag: str, digest: str) -> None:
        """A tag for several platforms: the image of that digest for this machine, another one for arm64, and the notes on them that builders add."""
        image = json.loads(self._get(repository, digest))
        other = {**image, "config": self._blob(repository, json.dumps({"architecture": "arm64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}))}
        note = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": self._blob(repository, "{}"), "layers": [self._blob(repository, "note")]}
        note["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
        bodies = {"unknown/unknown": (json.dumps(note).encode(), OCI_MANIFEST), "linux/arm64": (json.dumps(other).encode(), MANIFEST)}
        bodies["linux/amd64"] = (self._get(repository, digest), MANIFEST)
        entries = []
        for platform, (body, kind) in bodies.items():
            system, architecture = platform.split("/")
            entry = {"mediaType": kind, "size": len(body), "digest": self.put(repository, sha256(body), body, kind)}
            about = {"annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest}}
            entries.append({**entry, "platform": {"os": system, "architecture": architecture}, **(about if kind == OCI_MANIFEST else {})})
        self.put(repository, tag, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode(), INDEX)

    def _request(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.open_port, timeout=30)
        accept = {"Accept": f"{MANIFEST}, {OCI_MANIFEST}, {INDEX}"}
        connection.request(method, path, body, {**accept, **({"Content-Type": kind} if kind else {})})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data.decode()}")
        return answer, data

    def _get(self, repository: str, reference: str) -> bytes:
        return self._request("GET", f"/v2/{repository}/manifests/{reference}")[1]

    def put(self, repository: str, reference: str, body: bytes, kind: str) -> str:
        self._request("PUT", f"/v2/{repository}/manifests/{reference}", body, kind)
        return sha256(body)

    def _blob(self, repository: str, text: str) -> dict:
        data = text.encode()
        answer, _data = self._request("POST", f"/v2/{repository}/blobs/uploads/")
        place = urllib.parse.urlsplit(answer.getheader("Location"))
        self._request("PUT", f"{place.path}?{place.query}&digest={sha256(data)}", data, "application/octet-stream")
        return {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(data), "digest": sha256(data)}

    # --- as hosts see it ------------------------------------------------------------------------------------------------------------------

    def known_to(self, host) -> None:
        """Have a host take this machine for nvcr.io; for as long as it runs."""
        host.sh(f"grep -q ' {NAME}$' {HOSTS_FILE} || echo '{self.address} {NAME}' >> {HOSTS_FILE}")

    def trusted_by(self, host) -> None:
        host.write_file(AUTHORITY, self.certificates.authority_text)
        host.sh("update-ca-certificates >/dev/null 2>&1 && systemctl restart docker")


class Front(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that do not trust it, or go away, are what is tested."""


class Handler(http.server.BaseHTTPRequestHandler):
    """The registry's front: tokens, faults, and everything else from the registry behind it."""

    registry: Registry
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        pass

    def answer(self, status: int, body: dict, **headers) -> None:
        data = json.dumps(body).encode()
        self.registry.asked.append((time.monotonic(), self.command, self.path, status))
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self):
        here, path = self.registry, urllib.parse.urlsplit(self.path)
        if path.path == "/proxy_auth":
            return self._token(urllib.parse.parse_qs(path.query))
        if "/manifests/" in path.path and here.limited:
            here.limited -= 1
            return self.answer(429, {"errors": [{"code": "TOOMANYREQUESTS", "message": "rate exceeded"}]}, Retry_After=here.retry_after)
        return self._pass()

    do_HEAD = do_GET

    def do_POST(self):
        """OAuth, which newer engines try first."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(405, {"errors": [{"code": "UNSUPPORTED"}]})

    def _token(self, query: dict[str, list[str]]) -> None:
        given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        if given and given != f"{USER}:{self.registry.password}":
            return self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "Invalid user or API key"}]})
        scopes = [scope.split(":") for text in query.get("scope", []) for scope in text.split()] if given else []
        access = [{"type": kind, "name": name, "actions": ["pull"]} for kind, name, _actions in scopes]
        return self.answer(200, {"token": self.registry.certificates.token(access, -3600 if self.registry.expired else 300)})

    def _pass(self) -> None:
        backend = http.client.HTTPConnection("127.0.0.1", self.registry.port, timeout=30)
        kept = {name: self.headers[name] for name in ("Authorization", "Accept", "Range") if name in self.headers}
        backend.request(self.command, self.path, headers={**kept, "Host": NAME, "X-Forwarded-Proto": "https"})
        found = backend.getresponse()
        self.registry.asked.append((time.monotonic(), self.command, self.path, found.status))
        length = int(found.getheader("Content-Length") or 0)
        self.send_response(found.status)
        for name, value in found.getheaders():
            if name.lower() not in ("connection", "date", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        left = length
        if length > LARGE and self.registry.cut:
            self.registry.cut -= 1
            left, self.close_connection = length // 2, True
        while left and (block := found.read(min(left, 1 << 16))):
            self.wfile.write(block)
            left -= len(block)


def free_ports(count: int) -> list[int]:
    """All of them taken before one is given back: asked for one after the other, two can be the same."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _port in range(count)]


def stand_in(own_id: str = "") -> str:
    """An image that behaves as a NIM, in this machine's engine; one with ``own_id`` serves that id whatever it is told."""
    parts = [(KIT / name).read_bytes() for name in ("nim/Dockerfile", "nim/serve", "llama-server", "last-user.jinja")] + [own_id.encode()]
    image = f"nemoclaw-bed/nim:{hashlib.sha256(b'|'.join(parts)).hexdigest()[:12]}"
    if run("docker", "image", "inspect", image, check=False).returncode:
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            context = Path(directory)
            (context / "tiny-agent").mkdir()
            for name in ("llama-server", "last-user.jinja", "tiny-agent.gguf"):
                shutil.copy(KIT / name, context / "tiny-agent")
            shutil.copytree(images.ensure_llama_server(), context / "llama-server", symlinks=True, ignore=shutil.ignore_patterns("dev"))  # /dev/full has no end
            for name in ("Dockerfile", "serve"):
                shutil.copy(KIT / "nim" / name, context)
            arguments = ("--build-arg", f"BASE={images.ensure(images.SANDBOX)}", "--build-arg", f"OWN_ID={own_id}")
            run("docker", "build", "--quiet", "--tag", image, *arguments, directory, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    return image
