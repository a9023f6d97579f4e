# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's program and its libraries on a host. Private to the collection."""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import shutil
import subprocess
import tarfile
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.download import Source, download
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import version as number
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.servers import version_of
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

LARGEST = 16 << 30  # bytes of an archive, and of what is in it
AGAIN = "Get the release's file again, or correct nemoclaw_ollama.checksum."


def said_version(program: str) -> str:
    """The version that the program says; empty when it cannot be run."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
            [program, "--version"], env={"HOME": "/nonexistent", "OLLAMA_HOST": "127.0.0.1:1"}, stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace", timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return version_of(done.stdout + done.stderr)


class Program(Resource):
    """C({source, path, prefix, archive, url, sha256, version, minimum}): the program, where it is already, or out of a release's archive with that digest.

    The archive's C(bin/ollama) and C(lib/ollama) lie below the prefix, as Ollama's own installer puts them; a record beside the libraries says which
    archive they are of. C(file) is the path of the archive on the host, when it was brought there; else it is downloaded.
    """

    kind = "program"

    def __init__(self, desired: dict[str, t.Any], file: str = "") -> None:
        super().__init__({"name": "ollama", **desired})
        self.file = file
        prefix = self.desired.get("prefix", "/usr/local")
        self.program, self.libraries = f"{prefix}/bin/ollama", f"{prefix}/lib/ollama"
        self.record = f"{self.libraries}/nemoclaw.json"
        self.staging = f"{prefix}/lib/.nemoclaw-ollama"

    @property
    def _installs(self) -> bool:
        return self.desired["source"] != "present"

    def read(self) -> dict[str, t.Any]:
        if not self._installs and not self.absent:
            return {"program": self.desired["path"]} if os.access(self.desired["path"], os.X_OK) else {}
        recorded: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError), open(self.record, encoding="utf-8") as stream:
            recorded = json.load(stream)
        if self.absent:
            return recorded
        there = os.path.isfile(self.program)
        return (
            {"program": self.program, "archive": recorded.get("archive") if there and sha256(self.program) == recorded.get("program") else None}
            if there
            else {}
        )

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        if not self._installs:
            return [] if state else [self.change("state", "absent", "present")]
        return self.compare(state, {"archive": self.desired["sha256"]})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            os.unlink(self.program)
            shutil.rmtree(self.libraries)
            return
        if not self._installs:
            raise ResourceError(f"{self.desired['path']} is not there.", "Install Ollama on the host, or say where it comes from (nemoclaw_ollama.source).")
        try:
            self._install()
        except OSError as error:
            raise ResourceError(f"Ollama cannot be installed: {error.filename or self.staging}: {error.strerror}.", "See space and rights there.") from error
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)

    def _install(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)
        os.makedirs(self.staging)
        path = self.file or self._downloaded()
        found = sha256(path)
        if found != self.desired["sha256"]:
            raise ResourceError(f"{self.desired['archive']} has the SHA-256 {found}, expected is {self.desired['sha256']}. Nothing was changed.", AGAIN)
        unpack(path, self.desired["archive"], self.staging)
        staged = f"{self.staging}/bin/ollama"
        version = said_version(staged)
        if not version:
            raise ResourceError(f"{self.desired['archive']} holds no bin/ollama that runs here. Nothing was changed.", "Give the archive for this machine.")
        if number(version) < number(self.desired["minimum"]):
            raise ResourceError(f"Ollama {version} is older than {self.desired['minimum']}. Nothing was changed.", "Give a newer release.")
        if self.desired.get("version") and version != self.desired["version"]:
            raise ResourceError(f"{self.desired['archive']} holds Ollama {version}, not {self.desired['version']}. Nothing was changed.", AGAIN)
        os.makedirs(f"{self.staging}/lib/ollama", exist_ok=True)
        with open(f"{self.staging}/lib/ollama/{posixpath.basename(self.record)}", "w", encoding="utf-8") as stream:
            json.dump({"archive": found, "program": sha256(staged), "version": version}, stream)
        if os.path.isdir(self.libraries):
            os.rename(self.libraries, f"{self.staging}/old")
        os.rename(f"{self.staging}/lib/ollama", self.libraries)
        os.makedirs(posixpath.dirname(self.program), exist_ok=True)
        os.replace(staged, self.program)

    def _downloaded(self) -> str:
        path = f"{self.staging}/{self.desired['archive']}"
        try:
            download(self.desired["url"], path, Source(), LARGEST)
        except ResourceError as error:
            raise ResourceError(error.message, "Check nemoclaw_ollama.url. A host without a way out takes source: archive.") from error
        return path


def unpack(path: str, name: str, directory: str) -> None:
    """Unpack what lies below C(bin) and C(lib) in a release's archive. C(name) is the archive's, for messages and its kind."""
    try:
        with _opened(path, name) as archive:
            for member in archive:
                inner = posixpath.normpath(member.name)
                if inner.split("/")[0] not in ("bin", "lib"):
                    continue
                target = posixpath.normpath(posixpath.join(posixpath.dirname(inner), member.linkname)) if member.issym() else inner
                if not (member.isreg() or member.isdir() or member.issym()) or posixpath.isabs(member.linkname) or target.split("/")[0] not in ("bin", "lib"):
                    raise ResourceError(f"{name} is refused: {member.name} leads out of it. Nothing was changed.", AGAIN)
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                archive.extract(member, directory)
    except (tarfile.TarError, EOFError) as error:
        raise ResourceError(f"{name} cannot be unpacked: {error}. Nothing was changed.", AGAIN) from error


@contextlib.contextmanager
def _opened(path: str, name: str) -> t.Iterator[tarfile.TarFile]:
    if not name.endswith(".zst"):
        with tarfile.open(path, "r|*") as archive:
            yield archive
        return
    try:
        # run_command would hold all of it in memory
        unpacking = subprocess.Popen(["zstd", "-dc", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)  # pylint: disable=ansible-bad-function
    except FileNotFoundError:
        raise ResourceError("zstd is not there.", "Run 'apt-get install zstd'.") from None
    with unpacking as unpacker:
        with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
            yield archive
        unpacker.stdout.close()
