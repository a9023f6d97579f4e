# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A blueprint from elsewhere: fetched once, by its digest, and nothing but plain files."""

from __future__ import annotations

import functools
import http.server
import io
import shutil
import subprocess
import tarfile
import threading

import pytest

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils import _blueprint_source as sources
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import BUNDLED, Blueprint, BlueprintError
from tests.unit.test_plan import LEAST, plan, run

DIGEST = Blueprint().digest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nemoclaw-fleet" / "blueprints"


@pytest.fixture
def server(tmp_path):
    """(directory, URL, requested paths) of a web server on the loopback."""
    directory, requested = tmp_path / "www", []
    directory.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            requested.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=directory)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield directory, f"http://127.0.0.1:{httpd.server_port}", requested
        httpd.shutdown()


@pytest.fixture
def archive(server):
    directory, url, _requested = server
    with tarfile.open(directory / "blueprint.tar.gz", "w:gz") as tar:
        tar.add(BUNDLED, "fleet-1.0/blueprint")
    return f"{url}/blueprint.tar.gz"


@pytest.fixture
def repository(tmp_path):
    """URL of a git repository whose tag v1 has the blueprint."""
    root = tmp_path / "repository"
    shutil.copytree(BUNDLED, root / "blueprint")
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    for argv in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "--message", "blueprint"), ("tag", "v1")):
        subprocess.run(["git", "-C", str(root), *argv], check=True)
    return f"git+file://{root}"


def test_an_archive_makes_the_same_plan_and_is_fetched_once(archive, server):
    given = {**LEAST, "nemoclaw_blueprint": {"source": archive, "digest": DIGEST}}
    assert plan(given)["digest"] == plan()["digest"]
    assert plan(given)["digest"] == plan()["digest"]
    assert len(server[2]) == 1


def test_a_tag_makes_the_same_plan(repository):
    assert plan({**LEAST, "nemoclaw_blueprint": {"source": f"{repository}@v1", "digest": DIGEST}})["digest"] == plan()["digest"]


@pytest.mark.parametrize(("source", "said"), [("@v2", "cannot be cloned"), ("", "names no tag")])
def test_no_such_tag(repository, source, said):
    assert said in run({**LEAST, "nemoclaw_blueprint": {"source": repository + source, "digest": DIGEST}})["msg"]


@pytest.mark.parametrize("digest", [{}, {"digest": ""}, {"digest": "../../../tmp"}])
def test_a_remote_blueprint_needs_its_digest(archive, server, digest):
    assert "nemoclaw_blueprint.digest: is missing" in run({**LEAST, "nemoclaw_blueprint": {"source": archive, **digest}})["msg"]
    assert server[2] == []


def test_another_digest_is_refused_and_not_kept(archive, cache):
    assert f"has the digest {DIGEST}, not {'0' * 64}" in run({**LEAST, "nemoclaw_blueprint": {"source": archive, "digest": "0" * 64}})["msg"]
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_kept_one_that_was_changed_is_refused(archive, cache):
    given = {**LEAST, "nemoclaw_blueprint": {"source": archive, "digest": DIGEST}}
    plan(given)
    (cache / DIGEST / "blueprint.yaml").write_text("version: 6")
    assert "was changed: blueprint.yaml" in run(given)["msg"]


def test_a_server_that_is_not_there(archive):
    source = archive.replace("blueprint.tar.gz", "none.tar.gz")
    assert "cannot be fetched" in run({**LEAST, "nemoclaw_blueprint": {"source": source, "digest": DIGEST}})["msg"]


def tar_of(*members: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return stream.getvalue()


def member(name: str, **values) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside", size=1),
        member("/etc/outside", size=1),
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard", type=tarfile.LNKTYPE, linkname="MANIFEST.sha256"),
        member("pipe", type=tarfile.FIFOTYPE),
    ],
    ids=lambda info: info.name,
)
def test_what_is_no_plain_file_is_refused(server, bad, tmp_path):
    directory, url, _requested = server
    (directory / "bad.tar.gz").write_bytes(tar_of(member("MANIFEST.sha256", size=1), bad))
    with pytest.raises(BlueprintError, match="no plain file"):
        sources.resolve(f"{url}/bad.tar.gz", DIGEST)
    assert not (tmp_path / "outside").exists()


def test_no_blueprint_in_the_archive(server):
    directory, url, _requested = server
    (directory / "none.tar.gz").write_bytes(tar_of(member("README", size=1)))
    with pytest.raises(BlueprintError, match="there is no blueprint"):
        sources.resolve(f"{url}/none.tar.gz", DIGEST)
