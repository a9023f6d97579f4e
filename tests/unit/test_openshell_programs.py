# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenShell's programs on a host: verified before anything is unpacked or run, all of them or none, finished or taken back after an interruption.

The programs are shell scripts that say a version; no gateway runs from the directory. Upgrades under running gateways: tests/integration/test_upgrade.py.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import subprocess
import tarfile
import threading

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import units
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import archives, download, replacement, services
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.programs import Programs
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

NAMES = ("openshell", "openshell-gateway", "openshell-sandbox")
VERSIONS = {"minimum": "0.0.72", "below": "0.1.0"}


def script(version, says=""):
    return f"#!/bin/sh\n# {says}\necho program {version}\n".encode()


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def no_gateways(monkeypatch, tmp_path):
    monkeypatch.setattr(units, "UNIT_DIR", str(tmp_path / "units"))


@pytest.fixture
def host(tmp_path):
    """A function that gives the resource for programs of a version, from a directory."""

    def make(version="0.0.106", **more):
        source = tmp_path / f"from-{version}"
        source.mkdir(exist_ok=True)
        contents = {name: script(version, name) for name in NAMES}
        for name, data in contents.items():
            (source / name).write_bytes(data)
            (source / name).chmod(0o755)
        digests = {name: digest(data) for name, data in contents.items()}
        desired = {"bin_dir": str(tmp_path / "bin"), "programs": list(NAMES), "source": "directory", "versions": VERSIONS, "sha256": digests, **more}
        return Programs(desired, {name: str(source / name) for name in NAMES})

    return make


def converge(resource):
    state = resource.read()
    changes = resource.diff(state)
    if changes:
        resource.apply(state, changes)
    return changes


def live(tmp_path):
    return {path.name: path.read_bytes() for path in (tmp_path / "bin").iterdir() if path.is_file()}


def tarball(path, *members, **modes):
    """A tarball of (name, data) members, or of TarInfo."""
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, data = member
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), modes.get("mode", 0o755)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def of_archives(tmp_path, *paths, **more):
    listed = [{"name": os.path.basename(path), "sha256": sha256(path)} for path in paths]
    desired = {"bin_dir": str(tmp_path / "bin"), "programs": list(NAMES), "source": "archive", "versions": VERSIONS, "archives": listed, **more}
    return Programs(desired, {os.path.basename(path): str(path) for path in paths})


# --- a directory of programs ------------------------------------------------------------------------------------------------------------


def test_installed_once(host, tmp_path):
    assert {change.field for change in converge(host(version="0.0.106"))} == set(NAMES)
    assert live(tmp_path) == {name: script("0.0.106", name) for name in NAMES}
    assert converge(host()) == []
    store = tmp_path / "bin" / ".nemoclaw-openshell"
    assert sorted(path.name for path in store.iterdir()) == ["lock", "record.json"]  # nothing from before
    assert store.stat().st_mode & 0o777 == 0o700


def test_another_version_is_told_with_both_numbers(host):
    converge(host("0.0.101"))
    resource = host("0.0.106")
    resource.desired["version"] = "0.0.106"
    version = next(change for change in resource.changes() if change.field == "version")
    assert (version.before, version.after) == ("0.0.101", "0.0.106")


@pytest.mark.parametrize("harm", ["other", "gone", "mode"])
def test_what_somebody_did_is_found_and_put_right(host, tmp_path, harm):
    converge(host())
    program = tmp_path / "bin" / "openshell-gateway"
    program.chmod(0o777) if harm == "mode" else program.unlink() if harm == "gone" else program.write_bytes(b"not a program")
    assert [change.field for change in converge(host())] == ["openshell-gateway" if harm != "mode" else "openshell-gateway mode"]
    assert converge(host()) == []


def test_a_file_that_is_not_what_was_planned_changes_nothing(host, tmp_path):
    converge(host("0.0.101"))
    resource = host("0.0.106")
    (tmp_path / "from-0.0.106" / "openshell-sandbox").write_bytes(b"something else")
    with pytest.raises(ResourceError, match=f"openshell-sandbox has the SHA-256 {digest(b'something else')}, expected is [0-9a-f]{{64}}"):
        converge(resource)
    assert live(tmp_path)["openshell"] == script("0.0.101", "openshell")
    assert not (tmp_path / "bin" / ".nemoclaw-openshell" / "next").exists()


@pytest.mark.parametrize(
    ("version", "said"),
    [("0.1.0", "no inference routes"), ("0.0.71", "too old"), ("0.0.36", "cluster in a container")],
)
def test_a_version_that_is_not_understood_is_not_installed(host, tmp_path, version, said):
    with pytest.raises(ResourceError, match=said):
        converge(host(version))
    assert live(tmp_path) == {}


def test_a_version_other_than_asked_for(host, tmp_path):
    resource = host("0.0.101")
    resource.desired["version"] = "0.0.106"
    with pytest.raises(ResourceError, match=r"The programs are OpenShell 0\.0\.101, not 0\.0\.106"):
        converge(resource)
    assert live(tmp_path) == {}


def test_programs_of_different_versions(host, tmp_path):
    resource = host("0.0.106")
    other = script("0.0.105")
    (tmp_path / "from-0.0.106" / "openshell-sandbox").write_bytes(other)
    resource.desired["sha256"]["openshell-sandbox"] = digest(other)
    with pytest.raises(ResourceError, match="do not fit together"):
        converge(resource)
    assert live(tmp_path) == {}


def test_an_older_one_needs_a_word(host, tmp_path):
    converge(host("0.0.106"))
    with pytest.raises(ResourceError, match=r"0\.0\.101 is older than 0\.0\.106.*allow_downgrade"):
        converge(host("0.0.101"))
    converge(host("0.0.101", allow_downgrade=True))
    assert live(tmp_path)["openshell"] == script("0.0.101", "openshell")


def test_preinstalled_ones_must_be_there(tmp_path):
    resource = Programs({"bin_dir": str(tmp_path), "programs": ["openshell"], "source": "preinstalled"})
    with pytest.raises(ResourceError, match=r"openshell not there\. Install OpenShell"):
        converge(resource)
    (tmp_path / "openshell").touch()
    assert converge(resource) == []


def test_what_was_there_before_is_back_without_its_source(host, tmp_path):
    converge(host("0.0.101"))
    converge(host("0.0.106"))
    before = host("0.0.101")
    before.files = {}
    converge(before)
    assert live(tmp_path) == {name: script("0.0.101", name) for name in NAMES}
    assert before.changes() == []
    again = host("0.0.106")
    again.files = {}
    converge(again)
    assert live(tmp_path)["openshell"] == script("0.0.106", "openshell")


def test_files_that_must_be_brought_are_named(host):
    resource = host()
    resource.files = {}
    with pytest.raises(ResourceError, match="openshell, openshell-gateway, openshell-sandbox must be brought") as error:
        converge(resource)
    assert error.value.kind == "missing"


def test_a_full_disk_is_told_and_leaves_nothing(host, tmp_path, monkeypatch):
    converge(host("0.0.101"))
    before = live(tmp_path)

    def full(path, target):
        raise OSError(28, "No space left on device", target)

    monkeypatch.setattr(archives, "copy", full)
    with pytest.raises(ResourceError, match=r"cannot be installed: .*No space left on device\. See space and rights of"):
        converge(host("0.0.106"))
    assert live(tmp_path) == before
    assert sorted(path.name for path in (tmp_path / "bin" / ".nemoclaw-openshell").iterdir()) == ["lock", "record.json"]


# --- interrupted ------------------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As when the process is killed."""


@pytest.mark.parametrize("step", ["_stop", "_backup", "_swap", "_start", "_done", "half"])
def test_a_replacement_killed_anywhere_is_finished_by_the_next_run(host, tmp_path, monkeypatch, step):
    converge(host("0.0.101"))
    with monkeypatch.context() as patch:
        if step == "half":
            real, calls = os.replace, []

            def replace(source, target):
                calls.append(target)
                if sum(os.path.dirname(target) == str(tmp_path / "bin") for target in calls) == 2:
                    raise Killed
                real(source, target)

            patch.setattr(replacement.os, "replace", replace)
        else:

            def killed(*_arguments):
                raise Killed

            patch.setattr(replacement.Replacement, step, killed)
        with pytest.raises(Killed):
            converge(host("0.0.106"))
    assert "interrupted replacement" in {change.field for change in converge(host("0.0.106"))}
    assert live(tmp_path) == {name: script("0.0.106", name) for name in NAMES}
    assert converge(host("0.0.106")) == []


@pytest.mark.parametrize("existed", [True, False])
def test_a_swap_that_fails_leaves_the_old_ones(host, tmp_path, monkeypatch, existed):
    if existed:
        converge(host("0.0.101"))
    before = live(tmp_path) if existed else {}
    real = os.replace

    def replace(source, target):
        if target.endswith("bin/openshell-sandbox") and "/next/" in source:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(replacement.os, "replace", replace)
    with pytest.raises(ResourceError, match=r"was taken back, because .*No space left on device"):
        converge(host("0.0.106"))
    assert live(tmp_path) == before
    monkeypatch.undo()
    monkeypatch.setattr(units, "UNIT_DIR", str(tmp_path / "units"))
    converge(host("0.0.106"))
    assert live(tmp_path)["openshell"] == script("0.0.106", "openshell")


# --- archives ---------------------------------------------------------------------------------------------------------------------------


def test_out_of_tarballs_and_remembered(tmp_path):
    paths = [tarball(tmp_path / f"{name}.tar.gz", (f"./{name}", script("0.0.106", name))) for name in NAMES]
    resource = of_archives(tmp_path, *paths)
    converge(resource)
    assert live(tmp_path) == {name: script("0.0.106", name) for name in NAMES}
    resource.files = {}
    assert converge(resource) == []  # without the archives
    (tmp_path / "bin" / "openshell").write_bytes(b"by hand")
    assert [change.field for change in resource.changes()] == ["openshell"]


def test_the_same_programs_from_elsewhere_are_only_remembered(host, tmp_path):
    converge(host("0.0.106"))
    path = tarball(tmp_path / "all.tar.gz", *[(f"bin/{name}", script("0.0.106", name)) for name in NAMES])
    inode = os.stat(tmp_path / "bin" / "openshell").st_ino
    assert converge(of_archives(tmp_path, path)) != []
    assert os.stat(tmp_path / "bin" / "openshell").st_ino == inode
    assert converge(of_archives(tmp_path, path)) == []


def test_a_package_gives_its_programs_and_is_not_installed(tmp_path):
    tree = tmp_path / "tree"
    for path, mode in [(f"usr/bin/{name}", 0o755) for name in NAMES] + [("usr/share/completions/openshell", 0o644), ("DEBIAN/postinst", 0o755)]:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(script("0.0.106", path))
        (tree / path).chmod(mode)
    (tree / "DEBIAN/control").write_text("Package: openshell\nVersion: 0.0.106\nArchitecture: all\nMaintainer: tests\nDescription: test\n")
    (tree / "usr/share/doc/openshell").mkdir(parents=True)
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, tmp_path / "openshell.deb"], check=True, capture_output=True)
    converge(of_archives(tmp_path, str(tmp_path / "openshell.deb")))
    assert live(tmp_path)["openshell"] == script("0.0.106", "usr/bin/openshell")


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("../openshell", b"x")], "leads out of it"),
        ([("/usr/bin/openshell", b"x")], "leads out of it"),
        ([("a/../../openshell", b"x")], "leads out of it"),
        ([link("openshell", "/etc/shadow")], "no regular file"),
        ([link("openshell", "/etc/shadow", tarfile.LNKTYPE)], "no regular file"),
        ([link("openshell", "", tarfile.CHRTYPE)], "no regular file"),
        ([link("next", "/etc"), ("next/openshell", b"x"), ("openshell", b"y")], "twice"),
    ],
)
def test_archives_that_reach_out_are_refused(tmp_path, members, said):
    path = tarball(tmp_path / "evil.tar.gz", *members)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ResourceError, match=rf"evil\.tar\.gz is refused: .*{said}"):
        archives.extract(path, "evil.tar.gz", NAMES, str(target))
    assert {found.name for found in tmp_path.iterdir()} == {"evil.tar.gz", "target"}


@pytest.mark.parametrize("data", [b"", b"not a tarball", gzip.compress(b"nor this", mtime=0)])
def test_what_is_no_archive(tmp_path, data):
    for name in ("a.tar.gz", "a.deb"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ResourceError, match="cannot be read"):
            archives.extract(str(tmp_path / name), name, NAMES, str(tmp_path))


def test_an_archive_without_a_program(tmp_path):
    path = tarball(tmp_path / "less.tar.gz", ("openshell", script("0.0.106")), ("share/openshell-gateway", b""), mode=0o644)
    with pytest.raises(ResourceError, match=r"openshell is in none of less\.tar\.gz"):
        converge(of_archives(tmp_path, path))


def test_an_archive_is_verified_before_it_is_opened(tmp_path, monkeypatch):
    path = tarball(tmp_path / "all.tar.gz", *[(name, script("0.0.106", name)) for name in NAMES])
    resource = of_archives(tmp_path, path)
    resource.desired["archives"][0]["sha256"] = "0" * 64
    monkeypatch.setattr(archives, "opened", lambda *args: pytest.fail("it was opened"))
    with pytest.raises(ResourceError, match=rf"all\.tar\.gz has the SHA-256 [0-9a-f]{{64}}, expected is {'0' * 64}"):
        converge(resource)


# --- downloads --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    """A server that answers with what is put into C(answers), (status, body, headers), in turn, and keeps what it was asked in C(asked)."""
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)

    class Handler(http.server.BaseHTTPRequestHandler):
        answers: list = []  # noqa: RUF012
        asked: list = []  # noqa: RUF012

        def do_GET(self):
            self.asked.append((self.path, dict(self.headers)))
            status, body, *headers = self.answers.pop(0)
            self.send_response(status)
            for name, value in headers or [("Content-Length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    Handler.answers, Handler.asked, Handler.url = [], [], f"http://127.0.0.1:{found.server_port}/file"
    yield Handler
    found.shutdown()
    found.server_close()


def test_a_busy_server_and_a_broken_transfer_are_tried_again(server, tmp_path):
    server.answers += [(503, b""), (200, b"ha", ("Content-Length", "4")), (200, b"whole")]
    download.download(server.url, str(tmp_path / "file"), download.Source())
    assert (tmp_path / "file").read_bytes() == b"whole"


@pytest.mark.parametrize(("status", "said"), [(404, "HTTP status 404.*format"), (401, "HTTP status 401.*credential")])
def test_what_does_not_help_to_try_again(server, tmp_path, status, said):
    server.answers += [(status, b"")]
    with pytest.raises(ResourceError, match=said):
        download.download(server.url, str(tmp_path / "file"), download.Source(secret="canary"))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("source", "header"),
    [
        (download.Source(user="me", secret="pass"), "Basic bWU6cGFzcw=="),
        (download.Source(secret="token"), "Bearer token"),
        (download.Source(), None),
    ],
)
def test_how_it_says_who_it_is(server, tmp_path, source, header):
    server.answers += [(200, b"x")]
    download.download(server.url, str(tmp_path / "file"), source)
    assert server.asked[0][1].get("Authorization") == header


def test_a_secret_does_not_follow_to_another_server(server, tmp_path):
    server.answers += [(302, b"", ("Location", server.url.replace("127.0.0.1", "localhost")), ("Content-Length", "0")), (200, b"x")]
    download.download(server.url, str(tmp_path / "file"), download.Source(secret="token"))
    assert ["Authorization" in headers for _path, headers in server.asked] == [True, False]


def test_through_a_proxy(server, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server.answers += [(200, b"x")]
    download.download("http://mirror.example.org/a", str(tmp_path / "file"), download.Source(proxy=server.url.removesuffix("/file")))
    assert server.asked[0][0] == "http://mirror.example.org/a"


def test_a_server_that_is_not_there_says_why(server, tmp_path):
    with pytest.raises(ResourceError, match=r"cannot be downloaded: .*Connection refused.*download_by: controller"):
        download.download("http://127.0.0.1:1/a", str(tmp_path / "file"), download.Source())


# --- gateways that run from the programs ------------------------------------------------------------------------------------------------


UNIT = """\
[Service]
User=nemoclaw
Environment=OPENSHELL_TELEMETRY_ENABLED=false
Environment=XDG_CONFIG_HOME=/s/config XDG_STATE_HOME=/s/state
ExecStartPre=/usr/local/bin/openshell-gateway generate-certs --output-dir /s/tls
ExecStart=/usr/local/bin/openshell-gateway --config /s/gateway.toml --db-url sqlite:/s/gateway.db?mode=rwc
"""


def test_gateways_are_found_by_what_they_run(tmp_path):
    directory = tmp_path / "units"
    directory.mkdir()
    (directory / "nemoclaw-gateway.service").write_text(UNIT)
    (directory / "second-gateway.service").write_text(UNIT.replace("/s/", "/t/").replace("User=nemoclaw", "User=other"))
    (directory / "foreign-gateway.service").write_text(UNIT.replace("/usr/local/bin", "/opt/bin"))
    (directory / "nemoclaw-agent@assistant.service").write_text(UNIT)
    found = services.Service.all("/usr/local/bin")
    assert [(service.name, service.owner, service.backups) for service in found] == [("nemoclaw", "nemoclaw", "/s/backups"), ("second", "other", "/t/backups")]


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    """A stopped gateway with a database and a key."""
    (tmp_path / "units").mkdir()
    path = tmp_path / "units" / "nemoclaw-gateway.service"
    path.write_text(UNIT.replace("/s/", f"{tmp_path}/s/"))
    key = tmp_path / "s/state/openshell/gateway/credentials/key"
    key.parent.mkdir(parents=True)
    key.write_text("key")
    (tmp_path / "s/gateway.db").write_text("before")
    (tmp_path / "s/gateway.db-wal").write_text("before too")
    me = services.pwd.getpwuid(os.getuid())
    monkeypatch.setattr(services.pwd, "getpwnam", lambda name: me)
    return services.Service(str(path))


def test_database_and_key_are_copied_and_put_back(gateway, tmp_path):
    copy = gateway.backup("20260101T000000Z-0.0.101", 3)
    assert os.stat(copy).st_mode & 0o777 == 0o700
    (tmp_path / "s/gateway.db").write_text("after")
    (tmp_path / "s/gateway.db-wal").unlink()
    (tmp_path / "s/gateway.db-shm").write_text("of the newer one")
    (tmp_path / "s/state/openshell/gateway/credentials/key").write_text("another")
    gateway.restore(copy)
    assert {path.name: path.read_text() for path in (tmp_path / "s").glob("gateway.db*")} == {"gateway.db": "before", "gateway.db-wal": "before too"}
    assert (tmp_path / "s/state/openshell/gateway/credentials/key").read_text() == "key"


def test_only_the_newest_copies_are_kept(gateway, tmp_path):
    for day in range(1, 6):
        gateway.backup(f"2026010{day}T000000Z-0.0.101", 3)
    assert sorted(path.name[:8] for path in (tmp_path / "s/backups").iterdir()) == ["20260103", "20260104", "20260105"]


def test_a_copy_that_cannot_be_made_stops_the_upgrade(gateway, tmp_path):
    (tmp_path / "s/backups").write_text("no directory")
    with pytest.raises(ResourceError, match=r"mkdir --parents: .*Free space in"):
        gateway.backup("20260101T000000Z-0.0.101", 3)


def test_a_gateway_whose_unit_goes_while_all_are_looked_for(tmp_path, monkeypatch):
    """Another host of the inventory on the same machine is offboarded."""
    monkeypatch.setattr(services.units, "UNIT_DIR", str(tmp_path))
    (tmp_path / "gone-gateway.service").symlink_to("nowhere")
    (tmp_path / "here-gateway.service").write_text(f"[Service]\nExecStart={tmp_path}/openshell-gateway --config x\n")
    assert [service.name for service in services.Service.all(str(tmp_path))] == ["here"]
