# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another version of OpenShell under a running gateway, from every source; what fails or is interrupted leaves the host as it was, or is finished.

Between the real versions of OPENSHELL_OLD_BIN_DIR and OPENSHELL_BIN_DIR, or between the emulator and itself under another number.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.conftest import EMULATOR
from tests.integration.fleet import ANSWER, Fleet, answer, changed, predicted, resources, unchanged

pytestmark = pytest.mark.long

PROGRAMS = ("openshell", "openshell-gateway", "openshell-sandbox")
STORE = "/usr/local/bin/.nemoclaw-openshell"
BACKUPS = "/home/nemoclaw/.nemoclaw/gateway/backups"
TARBALLS = {
    "openshell": "openshell-{arch}-unknown-linux-musl.tar.gz",
    "openshell-gateway": "openshell-gateway-{arch}-unknown-linux-gnu.tar.gz",
    "openshell-sandbox": "openshell-sandbox-{arch}-unknown-linux-gnu.tar.gz",
}
# as soon as the new gateway is to be started, whoever holds the lock ends
KILLER = f"""
until grep -qs '"step": "start"' {STORE}/journal.json; do sleep 0.01; done
for process in /proc/[0-9]*; do
    ls -l $process/fd 2>/dev/null | grep -q {STORE}/lock && kill -KILL ${{process#/proc/}}
done
"""
MIRROR = ("fleet", "mirror-canary-7be1")  # user and password


class Version(NamedTuple):
    number: str
    path: Path  # of the programs


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copied(source: Path, target: Path) -> Path:
    target.mkdir()
    for program in PROGRAMS:
        shutil.copy(source / program, target)
    return target


@pytest.fixture(scope="module")
def new(openshell) -> Version:
    said = subprocess.run([openshell / "openshell", "--version"], capture_output=True, text=True, check=True).stdout
    return Version(said.split()[-1], openshell)


@pytest.fixture(scope="module")
def old(openshell, tmp_path_factory) -> Version:
    if openshell != EMULATOR:
        if "OPENSHELL_OLD_BIN_DIR" not in os.environ:
            pytest.skip("no earlier OpenShell in OPENSHELL_OLD_BIN_DIR")
        path = Path(os.environ["OPENSHELL_OLD_BIN_DIR"])
        said = subprocess.run([path / "openshell", "--version"], capture_output=True, text=True, check=True).stdout
        return Version(said.split()[-1], path)
    path = copied(openshell, tmp_path_factory.mktemp("old") / "bin")
    for program in PROGRAMS:
        text = (path / program).read_text()
        (path / program).write_text(text.replace("\n", "\nexport OPENSHELL_EMULATOR_VERSION=0.0.101\n", 1))
    return Version("0.0.101", path)


@pytest.fixture(scope="module")
def broken(new, tmp_path_factory) -> Version:
    """It says its version, and then does not start."""
    path = copied(new.path, tmp_path_factory.mktemp("broken") / "bin")
    (path / "openshell-gateway").write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo openshell-gateway {new.number} && exit\nexit 1\n')
    return Version(new.number, path)


def packed(version: Version, directory: Path) -> dict[str, str]:
    """Tarballs as a release has them; their checksums by name."""
    for program, name in TARBALLS.items():
        with tarfile.open(directory / name.format(arch=os.uname().machine), "w:gz") as archive:
            archive.add(version.path / program, program)
    return {path.name: sha256(path) for path in directory.glob("*.tar.gz")}


def packed_as_deb(version: Version, directory: Path) -> dict[str, str]:
    """The release's Debian package, which has more in it than programs and lacks one, and the tarball of that one."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    tree = directory / "tree"
    for program in PROGRAMS[:2]:
        (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(version.path / program, tree / "usr/bin")
    for path in ("usr/share/bash-completion/completions/openshell", "usr/lib/systemd/user/openshell-gateway.service", "DEBIAN/control", "DEBIAN/postinst"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text("#!/bin/sh\ntouch /etc/openshell-postinst-ran\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    (tree / "DEBIAN/control").write_text(f"Package: openshell\nVersion: {version.number}\nArchitecture: {arch}\nMaintainer: tests\nDescription: test\n")
    deb = directory / f"openshell_{version.number}_{arch}.deb"
    subprocess.run(["dpkg-deb", "--build", "-Zgzip", "-z1", "--root-owner-group", tree, deb], check=True, capture_output=True)
    rest = directory / TARBALLS["openshell-sandbox"].format(arch=os.uname().machine)
    with tarfile.open(rest, "w:gz") as archive:
        archive.add(version.path / "openshell-sandbox", "openshell-sandbox")
    shutil.rmtree(tree)
    return {path.name: sha256(path) for path in (deb, rest)}


class Mirror(SimpleHTTPRequestHandler):
    """Files for those who know the password; every path fails once, as busy servers do."""

    seen: set[str] = set()  # noqa: RUF012  (of the class on purpose: a handler is made for each request)

    def do_GET(self):
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(":".join(MIRROR).encode()).decode():
            return self.send_error(401)
        if self.path not in self.seen:
            self.seen.add(self.path)
            return self.send_error(503)
        return super().do_GET()

    def log_message(self, *_arguments):
        pass


@pytest.fixture(scope="module")
def mirror(fleet, new, tmp_path_factory):
    """An https server of this machine with the new version's tarballs, signed by nobody: C({url, checksums, ca})."""
    directory = tmp_path_factory.mktemp("mirror")
    address = f"{fleet.bed.prefix}.1"
    (directory / "files" / new.number).mkdir(parents=True)
    checksums = packed(new, directory / "files" / new.number)
    names = ["-subj", "/CN=mirror", "-addext", f"subjectAltName=IP:{address}"]
    key, certificate = directory / "key.pem", directory / "ca.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, "-keyout", key, "-out", certificate]
    subprocess.run(make, check=True, capture_output=True)
    server = ThreadingHTTPServer((address, 0), partial(Mirror, directory=str(directory / "files")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"url": f"https://{address}:{server.server_port}/{{version}}", "checksums": checksums, "ca": certificate.read_text()}
    server.shutdown()


@pytest.fixture(scope="module")
def upgrading(onboarded) -> Fleet:
    """Onboarded hosts with a file in each sandbox."""
    for name in ("h1", "h2"):
        onboarded.inside(name, "echo kept > /sandbox/notes")
    return onboarded


def running(fleet: Fleet, host: str) -> str:
    """The version of the gateway that answers, which the command line is of too."""
    said = fleet[host].sh("openshell --version").split()[-1]
    ready = fleet[host].sh("curl -s -m 5 http://127.0.0.1:8081/readyz")
    assert f'"version":"{said}"' in ready.replace(" ", "")
    return said


def well(fleet: Fleet, host: str) -> bool:
    """Whether sandbox, files, provider, route and model are as they were, and nothing of an upgrade lies about."""
    deadline = time.monotonic() + 120
    while not fleet.chat(host):
        assert time.monotonic() < deadline, f"{host}: no answer from the model inside the sandbox"
        time.sleep(0.5)
    assert fleet.inside(host, "cat /sandbox/notes") == "kept"
    assert fleet[host].sh(f"ls -A {STORE}").split() == ["kept", "lock", "record.json"]
    return True


def test_an_older_version_needs_a_word(upgrading, old):
    upgrading.of_host["h1"] = {"nemoclaw_openshell": {"source": "directory", "path": str(old.path), "version": old.number}}
    run = upgrading.play("onboard.yml", limit="h1")
    assert run.rc != 0
    assert "is older than" in run.output
    assert "allow_downgrade: true" in run.output
    assert run.executions["h1"] == ["nemoclaw.fleet.host_probe"]


def test_back_to_an_older_version(upgrading, old, new, tmp_path):
    """h1 gets a directory of programs, h2 an archive of the release's files, one of them a Debian package of which only the programs are taken."""
    checksums = packed_as_deb(old, tmp_path)
    common = {"path": str(tmp_path), "version": old.number, "allow_downgrade": True}
    upgrading.of_host["h1"] = {"nemoclaw_openshell": {**common, "source": "directory", "path": str(old.path)}}
    upgrading.of_host["h2"] = {"nemoclaw_openshell": {**common, "source": "archive", "format": "deb", "checksums": checksums}}
    check = upgrading.play("onboard.yml", limit="h1,h2", check=True, diff=True)
    for name in ("h1", "h2"):
        assert resources(predicted(check, name)) == {"programs/openshell"}
        version = next(change for change in predicted(check, name) if change["field"] == "version")
        assert (version["before"], version["after"]) == (new.number, old.number)
    run = upgrading.play("onboard.yml", limit="h1,h2")
    assert run.rc == 0
    for name in ("h1", "h2"):
        assert changed(run, name) == {"programs/openshell"}
        assert running(upgrading, name) == old.number
        assert well(upgrading, name)
        assert upgrading[name].sh(f"stat -c '%a %U' {BACKUPS} {BACKUPS}/*-{new.number}").splitlines() == ["700 nemoclaw"] * 2
        assert {"credentials", "gateway.db"} <= set(upgrading[name].sh(f"ls {BACKUPS}/*-{new.number}").split())
    assert upgrading["h2"].exec("test", "-e", "/etc/openshell-postinst-ran", check=False).returncode == 1
    again = upgrading.play("onboard.yml", limit="h1,h2")
    assert unchanged(again, "h1")
    assert unchanged(again, "h2")


def test_what_is_wrong_is_taken_back(upgrading, old, new, broken, mirror):
    """h1 gets a gateway that does not start, h2 a download that is not what it should be: both stay at the old version."""
    upgrading.of_host["h1"] = {"nemoclaw_openshell": {"source": "directory", "path": str(broken.path)}}
    wrong = dict.fromkeys(mirror["checksums"], "0" * 64)
    url = {"source": "url", "user": MIRROR[0], "credential": "MIRROR", **mirror, "version": new.number}
    secrets = {**upgrading.variables["nemoclaw_credentials"], "MIRROR": MIRROR[1]}
    upgrading.of_host["h2"] = {"nemoclaw_openshell": {**url, "checksums": wrong}, "nemoclaw_credentials": secrets}
    run = upgrading.play("onboard.yml", limit="h1,h2")
    assert run.recap["h1"]["failed"] == run.recap["h2"]["failed"] == 1
    assert re.search(rf"OpenShell {new.number} was taken back, because nemoclaw-gateway.service .* OpenShell {old.number} runs again", run.output)
    assert re.search(rf"has the SHA-256 [0-9a-f]{{64}}, expected is {'0' * 64}", run.output)
    assert MIRROR[1] not in run.output
    for name in ("h1", "h2"):
        assert running(upgrading, name) == old.number
        assert well(upgrading, name)


def test_an_interrupted_upgrade_is_finished(upgrading, new, mirror):
    """h1 is killed while the new gateway starts; h2, from the mirror, is not. The next run finishes the first and finds nothing to do on the second."""
    del upgrading.of_host["h1"]["nemoclaw_openshell"]
    upgrading.of_host["h2"]["nemoclaw_openshell"]["checksums"] = mirror["checksums"]
    watch = subprocess.Popen(["docker", "exec", upgrading["h1"].container, "timeout", "300", "sh", "-c", KILLER])
    run = upgrading.play("onboard.yml", limit="h1,h2")
    assert watch.wait() != 124
    assert run.recap["h1"]["failed"] == 1
    assert run.recap["h2"]["failed"] == 0
    assert upgrading["h1"].exec("test", "-e", f"{STORE}/journal.json", check=False).returncode == 0
    assert answer(run, "h2") in ("", ANSWER)
    assert MIRROR[1] not in run.output
    again = upgrading.play("onboard.yml", limit="h1,h2")
    assert again.rc == 0
    assert "programs/openshell" in changed(again, "h1")
    assert unchanged(again, "h2")
    for name in ("h1", "h2"):
        assert running(upgrading, name) == new.number
        assert well(upgrading, name)


def test_what_is_on_the_host_needs_no_source(upgrading, old, new):
    """h1 goes back to the plan before and its programs, which are not on the controller any more; h2 gets what is not even a program, which is put right."""
    upgrading.of_host.update(h1={"nemoclaw_openshell": {"source": "directory", "path": str(new.path)}}, h2={})
    back = upgrading.play("rollback.yml", limit="h1")
    assert back.rc == 0
    assert running(upgrading, "h1") == old.number
    assert well(upgrading, "h1")
    upgrading["h2"].sh("printf 'not a program' > /usr/local/bin/openshell.new && mv /usr/local/bin/openshell.new /usr/local/bin/openshell")
    run = upgrading.play("onboard.yml", limit="h1,h2")
    assert run.rc == 0
    for name in ("h1", "h2"):
        assert "programs/openshell" in changed(run, name)
        assert running(upgrading, name) == new.number
        assert well(upgrading, name)
        upgrading.await_agent(name)
