# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's program and its libraries on a host. Private to the collection."""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import shutil
import subprocess
import tarfile
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import alone
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.download import Source, download
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import version as number
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.servers import version_of
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

LARGEST = 16 << 30  # bytes of an archive, and of what is in it
SHOWN = 8  # names of a list in a message
LIST = 1 << 20  # bytes of a list of checksums
LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")  # as sha256sum writes it
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
    """C({source, path, prefix, archive, url, sha256, checksums, version, minimum}): the program, where it is already, or out of a release's archive.

    The archive has the digest C(sha256), else the one that the release's list at C(checksums) has for it. Its C(bin/ollama) and C(lib/ollama) lie below the
    prefix, as Ollama's own installer puts them; a record beside the libraries says which archive they are of, and whether there was a program before, which
    is not taken from whoever had it. C(file) is the path of the archive on the host, when it was brought there; else it is downloaded.
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
        recorded = self._recorded()
        if self.absent:
            return recorded
        if not os.path.isfile(self.program):
            return {}
        intact = sha256(self.program) == recorded.get("program")
        return {"program": self.program, **{key: recorded.get(key) if intact else None for key in ("archive", "release")}}

    def _recorded(self) -> dict[str, t.Any]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError), open(self.record, encoding="utf-8") as stream:
            return json.load(stream)
        return {}

    @property
    def contents(self) -> str:
        """What says which archive is meant: its digest, else where it and its digest are from."""
        return contents(self.desired)

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        if not self._installs:
            return [] if state else [self.change("state", "absent", "present")]
        return self.compare(state, {"archive" if self.desired["sha256"] else "release": self.contents})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        alone.apply(self, "nemoclaw-ollama", state, self._apply)

    def _apply(self, state: dict[str, t.Any]) -> None:
        if self.absent and state.get("replaced"):
            os.unlink(self.record)
            return
        if self.absent:
            with contextlib.suppress(FileNotFoundError):
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
        expected = self.desired["sha256"] or self._published()
        path = self.file or self._downloaded()
        found = sha256(path)
        if found != expected:
            raise ResourceError(f"{self.desired['archive']} has the SHA-256 {found}, expected is {expected}. Nothing was changed.", AGAIN)
        unpack(path, self.desired["archive"], self.staging)
        staged = f"{self.staging}/bin/ollama"
        version = said_version(staged)
        if not version:
            raise ResourceError(f"{self.desired['archive']} holds no bin/ollama that runs here. Nothing was changed.", "Give the archive for this machine.")
        if number(version) < number(self.desired["minimum"]):
            raise ResourceError(f"Ollama {version} is older than {self.desired['minimum']}. Nothing was changed.", "Give a newer release.")
        if self.desired.get("version") and version != self.desired["version"]:
            raise ResourceError(f"{self.desired['archive']} holds Ollama {version}, not {self.desired['version']}. Nothing was changed.", AGAIN)
        recorded = self._recorded()
        replaced = recorded.get("replaced", False) if recorded else os.path.lexists(self.program)
        os.makedirs(f"{self.staging}/lib/ollama", exist_ok=True)
        with open(f"{self.staging}/lib/ollama/{posixpath.basename(self.record)}", "w", encoding="utf-8") as stream:
            json.dump({"archive": found, "program": sha256(staged), "version": version, "release": self.contents, "replaced": replaced}, stream)
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

    def _published(self) -> str:
        """The archive's digest, of the release's list."""
        url, path = self.desired["checksums"], f"{self.staging}/checksums"
        try:
            download(url, path, Source(), LIST)
        except ResourceError as error:
            raise ResourceError(error.message, "Check nemoclaw_ollama.checksum, or give the SHA-256 of the archive itself.") from error
        with open(path, encoding="utf-8", errors="replace") as stream:
            return digest_of(self.desired["archive"], stream.read(), url)


def contents(desired: dict[str, t.Any]) -> str:
    """What stands for the contents of a planned program; empty for one that is there already."""
    return desired.get("sha256") or (f"{desired['url']} by {desired['checksums']}" if desired.get("checksums") else "")


def digest_of(archive: str, text: str, url: str) -> str:
    """The digest of an archive in what sha256sum wrote; the names may have directories."""
    lines = [found.groups() for line in text.splitlines() if (found := LINE.fullmatch(line.strip()))]
    digests = {digest.lower() for digest, name in lines if posixpath.basename(name) == archive}
    if len(digests) == 1:
        return digests.pop()
    names = ", ".join(sorted({posixpath.basename(name) for _digest, name in lines})[:SHOWN])
    problem = f"has several digests of {archive}" if digests else f"has no line for {archive}{f'; it has {names}' if names else ', nor for anything else'}"
    raise ResourceError(f"{url} {problem}. Nothing was changed.", "Check nemoclaw_ollama.checksum, version and url.")


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
