# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs out of a release's archives, and nothing else: no package is installed, no path of an archive is ever written to. Private to the collection."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import subprocess
import tarfile
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

LARGEST = 1 << 30  # bytes of one program; what is larger is no program


def verify(path: str, name: str, expected: str) -> None:
    """Refuse a file whose SHA-256 is not the expected one."""
    found = sha256(path)
    if found != expected:
        raise ResourceError(
            f"{name} has the SHA-256 {found}, expected is {expected}. It was not unpacked, and nothing was changed.",
            "Get the file of the release again, or name its checksum in nemoclaw_openshell.checksums if it is meant to be another one.",
        )


@contextlib.contextmanager
def opened(path: str, name: str) -> t.Iterator[tarfile.TarFile]:
    """A tarball, or the tarball in a Debian package, to be read from front to back."""
    if not name.endswith(".deb"):
        with tarfile.open(path, "r|*") as archive:
            yield archive
        return
    argv = ["dpkg-deb", "--fsys-tarfile", path]
    # run_command would hold all of it in memory
    unpacking = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # pylint: disable=ansible-bad-function
    with unpacking as unpacker:
        with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
            yield archive
        unpacker.stdout.close()


def extract(path: str, name: str, programs: t.Sequence[str], directory: str) -> list[str]:
    """Write the programs that an archive holds into the directory, 0755; returns their names. C(name) is the archive's, for messages and its kind.

    A program is a regular file with its name and the right to be executed, wherever it lies: packages have completions and directories of that name too.
    """
    found: list[str] = []
    try:
        with opened(path, name) as archive:
            for member in archive:
                program = posixpath.basename(member.name)
                if program not in programs or member.isdir() or (member.isreg() and not member.mode & 0o100):
                    continue
                if not member.isreg():
                    raise _refused(name, f"{member.name} is no regular file")
                if member.name.startswith("/") or ".." in member.name.split("/"):
                    raise _refused(name, f"{member.name} leads out of it")
                if program in found:
                    raise _refused(name, f"it holds {program} twice")
                if member.size > LARGEST:
                    raise _refused(name, f"{member.name} has {member.size} bytes")
                _write(archive.extractfile(member), os.path.join(directory, program))
                found.append(program)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _refused(name, f"it cannot be read: {error}") from error
    return found


def _write(source: t.Any, path: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o700), "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        os.fchmod(target.fileno(), 0o755)
        target.flush()
        os.fsync(target.fileno())


def copy(path: str, target: str) -> None:
    """A program as a new file of its own, on disk when this returns."""
    with open(path, "rb") as source:
        _write(source, target)


def _refused(name: str, why: str) -> ResourceError:
    return ResourceError(f"{name} is refused: {why}. Nothing was changed.", "Get the file of the release again.")
