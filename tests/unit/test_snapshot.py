# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose files a kept snapshot is: of the sandbox that is there, it is of no use; of one that is gone, it is what is left of it."""

from __future__ import annotations

import io
import pwd
import tarfile
from types import SimpleNamespace

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import snapshot as snapshots
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError


class Engine:
    """Containers as (name of the sandbox, {path: content}), by id; what is in an image is not in a difference."""

    def __init__(self):
        self.containers = {"old": ("a", {"sandbox/notes": b"mine", "sandbox/.profile": b"image's"})}
        self.lost = set()  # names that are not taken

    def by_labels(self, labels):
        return [found for found, (name, _files) in self.containers.items() if name == labels["openshell.ai/sandbox-name"]]

    def diff(self, container):
        paths = [f"/{path}" for path in self.containers[container][1] if not path.endswith(".profile")]
        return [{"Path": path, "Kind": 1} for path in [*paths, "/var/log/x"]] + [{"Path": "/sandbox/gone", "Kind": 2}]

    def get_archive(self, container, path):
        assert path == "/sandbox"
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w") as archive:
            for name, content in self.containers[container][1].items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        data = whole.getvalue()
        return (data[start : start + 700] for start in range(0, len(data), 700)), {}

    def put_archive(self, container, path, data):
        assert path == "/"
        with tarfile.open(fileobj=data) as archive:
            for member in archive:
                if member.name not in self.lost:
                    self.containers[container][1][member.name] = archive.extractfile(member).read()


@pytest.fixture
def engine(monkeypatch):
    engine = Engine()
    monkeypatch.setattr(snapshots, "connect", lambda: engine)
    monkeypatch.setattr(snapshots, "by_labels", engine.by_labels)
    return engine


@pytest.fixture
def snapshot(tmp_path):
    account = pwd.getpwuid(tmp_path.stat().st_uid)
    return snapshots.Snapshot(SimpleNamespace(home=str(tmp_path), account=account, gateway="nemoclaw"), "a")


def test_files_go_to_the_one_that_takes_its_place(engine, snapshot):
    snapshot.take()
    assert (snapshot.exists, snapshot.pending) == (True, False)
    del engine.containers["old"]
    assert snapshot.pending
    engine.containers["new"] = ("a", {"sandbox/.profile": b"new image's"})
    snapshot.restore("a")
    assert engine.containers["new"][1] == {"sandbox/.profile": b"new image's", "sandbox/notes": b"mine"}
    snapshot.drop()
    assert (snapshot.exists, snapshot.pending) == (False, False)


def test_what_an_interrupted_rebuild_has_kept_is_not_replaced(engine, snapshot):
    snapshot.take()
    del engine.containers["old"]
    engine.containers["half"] = ("a", {"sandbox/other": b"of no use"})
    snapshot.take()
    snapshot.restore("a")
    assert engine.containers["half"][1]["sandbox/notes"] == b"mine"


def test_what_was_kept_of_the_sandbox_that_is_still_there_is_taken_anew(engine, snapshot):
    snapshot.take()
    engine.containers["old"][1]["sandbox/notes"] = b"mine, later"
    snapshot.take()
    engine.containers["new"] = ("b", {})
    snapshot.restore("b")
    assert engine.containers["new"][1] == {"sandbox/notes": b"mine, later"}


def test_a_file_that_did_not_arrive_is_named_and_the_rest_stays(engine, snapshot):
    snapshot.take()
    engine.containers["new"] = ("b", {})
    engine.lost.add("sandbox/notes")
    with pytest.raises(ResourceError, match="/sandbox/notes"):
        snapshot.restore("b")
    assert snapshot.exists


def test_without_a_container_there_is_nothing_to_keep(engine, snapshot):
    engine.containers.clear()
    snapshot.take()
    assert (snapshot.exists, snapshot.pending) == (False, False)
