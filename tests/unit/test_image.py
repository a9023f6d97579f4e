# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The build context as pure functions; images on the engine of this machine, pulled from a registry that this test serves."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import threading
import time
import uuid

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import build_context, client, image, reference
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from tests.unit.image_registry import Registry, digest

FILES = [{"path": "Dockerfile", "content": "FROM scratch\nCOPY start /start\n"}, {"path": "start", "content": "#!/bin/sh\n", "mode": "0755"}]


def name_of(**changes):
    inputs = {"name": "a/b", "files": FILES, "build_args": {"V": "1"}, "labels": {"l": "1"}, "dockerfile": "Dockerfile"}
    return build_context.build_name(**{**inputs, **changes})


def test_a_name_is_the_digest_of_the_inputs():
    assert name_of() == name_of(files=list(reversed(FILES)))
    repository, tag = name_of().split(":")
    assert repository == "a/b"
    assert len(tag) == build_context.DIGITS


@pytest.mark.parametrize(
    "changes",
    [
        {"files": [FILES[0]]},
        {"files": [FILES[0], {**FILES[1], "content": "#!/bin/bash\n"}]},
        {"files": [FILES[0], {**FILES[1], "mode": "0644"}]},
        {"files": [FILES[0], {**FILES[1], "path": "begin"}]},
        {"build_args": {"V": "2"}},
        {"labels": {}},
        {"dockerfile": "other"},
    ],
)
def test_every_input_counts(changes):
    assert name_of(**changes) != name_of()


def test_a_file_on_the_host_counts_as_its_content(tmp_path):
    (tmp_path / "start").write_text("#!/bin/sh\n")
    assert name_of(files=[FILES[0], {"path": "start", "src": str(tmp_path / "start"), "mode": "0755"}]) == name_of()


def test_a_directory_counts_as_its_files(tmp_path):
    (tmp_path / "Dockerfile").write_text(FILES[0]["content"])
    (tmp_path / "start").write_text(FILES[1]["content"])
    (tmp_path / "start").chmod(0o755)
    assert name_of(files=[], context_dir=str(tmp_path)) == name_of()
    overlaid = build_context.entries([{"path": "start", "content": "other"}], str(tmp_path))
    assert [(entry.path, entry.data) for entry in overlaid] == [("Dockerfile", FILES[0]["content"].encode()), ("start", b"other")]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x"])
def test_files_stay_in_the_context(path):
    with pytest.raises(ResourceError, match="outside of the build context"):
        build_context.entries([{"path": path, "content": ""}])


def test_a_missing_file_of_the_host_is_named():
    with pytest.raises(ResourceError, match="/nonexistent/x"):
        build_context.entries([{"path": "x", "src": "/nonexistent/x"}])


def test_the_tar_has_the_files_and_is_the_same_twice():
    first, second = (build_context.tar(build_context.entries(FILES)).read() for _time in range(2))
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert [(member.name, member.mode) for member in archive] == [("Dockerfile", 0o644), ("start", 0o755)]


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "images"),
    [
        ("FROM debian:12", {}, ["debian:12"]),
        ("ARG BASE=a:1\nFROM ${BASE}\n", {}, ["a:1"]),
        ("ARG BASE=a:1\nFROM $BASE AS build\nFROM build\n", {"BASE": "b:2"}, ["b:2"]),
        ("ARG BASE\nFROM ${BASE:-c:3}\n", {}, ["c:3"]),
        ("FROM --platform=linux/amd64 a:1 AS x\nFROM scratch\nCOPY --from=x / /\n", {}, ["a:1"]),
        ('ARG BASE="a:1"\nfrom ${BASE}\nfrom ${BASE}\n', {}, ["a:1"]),
    ],
)
def test_base_images(dockerfile, arguments, images):
    assert build_context.base_images(dockerfile, arguments) == images


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a/b:1", ("a/b", "1")),
        ("localhost:5000/a", ("localhost:5000/a", "")),
        ("localhost:5000/a:1", ("localhost:5000/a", "1")),
        ("a@sha256:00", ("a", "sha256:00")),
        ("localhost:5000/a:1@sha256:00", ("localhost:5000/a", "sha256:00")),
    ],
)
def test_split(text, parts):
    assert reference.split(text) == parts


def test_a_name_that_its_inputs_do_not_make_is_refused():
    good = name_of(build_args={}, labels={})
    assert image.Image({"name": good, "source": "build", "files": FILES}).name == good
    with pytest.raises(ResourceError, match=good.split(":")[1]):
        image.Image({"name": "a/b:latest", "source": "build", "files": FILES})


def test_an_engine_that_does_not_answer_has_no_images(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    client.connect.cache_clear()
    try:
        wanted = image.Image({"name": "a/b:1", "source": "pull"})
        assert [(change.field, change.before) for change in wanted.diff(wanted.read())] == [("state", "absent")]
        with pytest.raises(client.EngineUnavailable, match="systemctl enable --now docker"):
            wanted.apply({}, [])
        assert image.Image({"name": "a/b", "state": "absent"}).changes() == []
    finally:
        client.connect.cache_clear()


# From here on with the engine of this machine.


@pytest.fixture(scope="module")
def engine():
    try:
        return client.connect()
    except client.EngineUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def repository(engine):
    """A repository of this test; its images are removed afterwards."""
    name = f"nemoclaw-test/{uuid.uuid4().hex[:12]}"
    yield name
    for found in engine.images(name=name):
        for tag in found["RepoTags"] or []:
            engine.remove_image(tag)


def make(**desired):
    """Apply as the module does; returns the resource and what changed."""
    resource = image.Image(desired)
    state = resource.read()
    changes = resource.diff(state)
    if changes:
        resource.apply(state, changes)
    return resource, changes


def test_build_once(engine, repository):
    built, changes = make(name=repository, source="build", files=FILES, labels={"made-by": "test"})
    assert [(change.field, change.before) for change in changes] == [("state", "absent")]
    state = built.read()
    assert state["tags"] == [built.name] == [build_context.build_name(repository, FILES, labels={"made-by": "test"})]
    assert state["labels"] == {"made-by": "test"}
    assert make(name=repository, source="build", files=FILES, labels={"made-by": "test"})[1] == []
    other, changes = make(name=repository, source="build", files=FILES, labels={"made-by": "other"})
    assert changes
    assert other.name != built.name

    absent, changes = make(name=repository, state="absent")
    assert sorted(change.before for change in changes) == sorted([built.name, other.name])
    assert absent.read() == {}
    assert make(name=repository, state="absent")[1] == []


def test_a_failed_build_shows_the_end_of_its_log(repository):
    files = [{"path": "Dockerfile", "content": "FROM scratch\nCOPY missing /\n"}]
    with pytest.raises(ResourceError, match="could not be built") as raised:
        make(name=repository, source="build", files=files)
    assert "Step 2/2 : COPY missing /" in str(raised.value)


def test_a_build_without_dockerfile(repository):
    with pytest.raises(ResourceError, match="has no Dockerfile"):
        make(name=repository, source="build", files=[FILES[1]])


def test_a_missing_base_image_is_named_with_its_argument(repository):
    files = [{"path": "Dockerfile", "content": "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n"}]
    with pytest.raises(ResourceError, match=r"base image 127\.0\.0\.1:9/base:1 .*\(BASE_IMAGE\)"):
        make(name=repository, source="build", files=files, build_args={"BASE_IMAGE": "127.0.0.1:9/base:1"})


def test_no_secrets_into_the_history(repository):
    with pytest.raises(ResourceError, match="NPM_TOKEN look like secrets"):
        make(name=repository, source="build", files=FILES, build_args={"NPM_TOKEN": "canary", "VERSION": "1"})


def test_source_present(repository):
    with pytest.raises(ResourceError, match="not to be fetched"):
        make(name=f"{repository}:1", source="present")


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_archive(engine, repository, tmp_path, suffix):
    """Loaded when missing, left alone when the same, replaced when its layers differ."""
    name = f"{repository}:kept"
    archives = []
    for content in ("one", "two"):
        built, _changes = make(name=repository, source="build", files=[FILES[0], {**FILES[1], "content": content}])
        engine.tag(built.name, repository, "kept")
        path = tmp_path / f"{content}.{suffix}"
        opener = gzip.open if suffix.endswith("gz") else open
        with opener(path, "wb") as stream:
            stream.writelines(engine.get_image(name))
        archives.append(str(path))
    make(name=repository, state="absent")

    loaded, changes = make(name=name, source="archive", archive=archives[0])
    assert [(change.field, change.before) for change in changes] == [("state", "absent")]
    layers = loaded.read()["layers"]
    assert make(name=name, source="archive", archive=archives[0])[1] == []
    replaced, changes = make(name=name, source="archive", archive=archives[1])
    assert [(change.field, change.before) for change in changes] == [("layers", layers)]
    assert replaced.read()["layers"] != layers


def test_archive_of_an_image_with_another_name(engine, repository, tmp_path):
    built, _changes = make(name=repository, source="build", files=FILES)
    path = tmp_path / "image.tar"
    path.write_bytes(b"".join(engine.get_image(built.name)))
    loaded, _changes = make(name=f"{repository}:mine", source="archive", archive=str(path))
    assert loaded.read()["tags"] == sorted([built.name, f"{repository}:mine"])


def test_what_is_no_archive(tmp_path, repository):
    (tmp_path / "x.tar").write_text("not a tar")
    for path in (tmp_path / "x.tar", tmp_path / "missing.tar"):
        with pytest.raises(ResourceError, match="is not an archive of 'docker save'"):
            make(name=f"{repository}:1", source="archive", archive=str(path))


@pytest.fixture
def registry(engine):
    with Registry() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        name = f"127.0.0.1:{server.server_port}/agent"
        yield server, name
        server.released.set()
        server.shutdown()
        for known in (f"{name}:1", f"{name}@{digest(server.manifest)}"):
            with contextlib.suppress(client.docker.errors.APIError):
                engine.remove_image(known)


def test_pull(registry):
    server, name = registry
    pulled, changes = make(name=f"{name}:1", source="pull")
    assert [(change.field, change.before) for change in changes] == [("state", "absent")]
    assert pulled.read()["digests"] == [f"{name}@{digest(server.manifest)}"]
    assert make(name=f"{name}:1", source="pull")[1] == []


def test_pull_by_digest(registry):
    server, name = registry
    exact = f"{name}@{digest(server.manifest)}"
    assert make(name=exact, source="pull")[1] != []
    assert make(name=exact, source="pull")[1] == []


def test_pull_of_what_is_not_there(registry):
    with pytest.raises(ResourceError, match=r"could not be pulled: .*(not found|manifest unknown)"):
        make(name=f"{registry[1]}:2", source="pull")


def test_a_stalled_pull_is_given_up(registry):
    server, name = registry
    server.stalls = 9
    started = time.monotonic()
    with pytest.raises(client.Stalled, match="raise stall_timeout"):
        make(name=f"{name}:1", source="pull", stall_timeout=2, retries=0)
    assert time.monotonic() - started < 30


def test_a_base_image_is_pulled_for_a_build(registry, repository):
    files = [{"path": "Dockerfile", "content": f"FROM {registry[1]}:1\nLABEL a=b\n"}]
    built, _changes = make(name=repository, source="build", files=files)
    assert built.read()["labels"] == {"a": "b"}
