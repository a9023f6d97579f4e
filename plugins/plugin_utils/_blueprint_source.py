# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a blueprint comes from: the collection, a directory, an archive behind a URL, a tag of a git repository. Private to the collection.

What comes over a network is named by its digest, fetched once, and kept; a fetched blueprint takes its place only after its manifest has that digest.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import typing as t

from ansible.module_utils.urls import open_url

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import BUNDLED, MANIFEST, BlueprintError

LARGEST = 64 * 1024 * 1024  # bytes of an archive
GIT = "git+"
REMOTE = ("https://", "http://", GIT)


def is_remote(source: str) -> bool:
    return source.startswith(REMOTE)


def cache_directory() -> pathlib.Path:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "nemoclaw-fleet" / "blueprints"


def resolve(source: str, digest: str) -> pathlib.Path:
    """The directory of a blueprint: C(bundled), a path, C(https://…/NAME.tar.gz), or C(git+URL@TAG). Raises BlueprintError.

    A remote one needs its C(digest), so that every controller and every run has the same.
    """
    if source == "bundled":
        return BUNDLED
    if not is_remote(source):
        return pathlib.Path(source).expanduser()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise BlueprintError(
            f"nemoclaw_blueprint.digest: is missing, or not 64 hex digits; {source} is fetched only when it is known what it must be. "
            f"Set it to what `sha256sum {MANIFEST}` prints in the blueprint that you read."
        )
    kept = cache_directory() / digest
    kept.parent.mkdir(parents=True, exist_ok=True)
    with _locked(kept.with_suffix(".lock")):
        if not (kept / MANIFEST).is_file():
            _fetch(source, digest, kept)
    return kept


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> t.Iterator[None]:
    """One of a run's processes fetches, the others wait."""
    with open(path, "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _fetch(source: str, digest: str, kept: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetch-") as directory:
        fetched = pathlib.Path(directory)
        try:
            if source.startswith(GIT):
                _clone(source, fetched)
            else:
                with open_url(source, timeout=60, follow_redirects="safe") as response:
                    _unpack(response.read(LARGEST + 1), fetched)
        except BlueprintError:
            raise
        except Exception as error:  # what a network, a server and a library can do
            raise BlueprintError(f"nemoclaw_blueprint.source: {source} cannot be fetched: {error}") from error
        found = [path for path in (fetched, *sorted(fetched.glob("*")), *sorted(fetched.glob("*/blueprint"))) if (path / MANIFEST).is_file()]
        if not found:
            raise BlueprintError(f"nemoclaw_blueprint.source: there is no blueprint ({MANIFEST}) in {source}.")
        actual = hashlib.sha256((found[0] / MANIFEST).read_bytes()).hexdigest()
        if actual != digest:
            raise BlueprintError(f"nemoclaw_blueprint.digest: {source} has the digest {actual}, not {digest}. Read what has changed before you take it.")
        shutil.rmtree(found[0] / ".git", ignore_errors=True)
        shutil.rmtree(kept, ignore_errors=True)
        found[0].rename(kept)


def _clone(source: str, target: pathlib.Path) -> None:
    url, found, tag = source[len(GIT) :].rpartition("@")
    if not found or "/" in tag:
        raise BlueprintError(f"nemoclaw_blueprint.source: {source} names no tag. Give git+URL@TAG.")
    argv = ["git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--depth", "1", "--branch", tag, "--", url, str(target / "clone")]
    done = subprocess.run(
        argv, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise BlueprintError(f"nemoclaw_blueprint.source: {source} cannot be cloned: {done.stderr.strip()}")


def _unpack(archive: bytes, target: pathlib.Path) -> None:
    """The plain files of a tar archive. A blueprint has no others; links and paths that lead elsewhere are refused."""
    if len(archive) > LARGEST:
        raise BlueprintError(f"nemoclaw_blueprint.source: the archive is larger than {LARGEST // 1024 // 1024} MiB.")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path = pathlib.PurePosixPath(member.name)
            if member.isdir():
                continue
            if not member.isfile() or path.is_absolute() or ".." in path.parts or member.size > LARGEST:
                raise BlueprintError(f"nemoclaw_blueprint.source: the archive holds {member.name!r}, which is no plain file below it.")
            stream = tar.extractfile(member)
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(stream.read() if stream else b"")
