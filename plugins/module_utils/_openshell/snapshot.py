# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files of a sandbox, kept on the host while another one takes its place. Private to the collection.

They are read and written through the engine: that needs no running sandbox, has no limit of size, and keeps owners, modes and times.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.client import EngineError, connect
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.containers import by_labels
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.owned import make_dir, read, write
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

try:
    from docker.errors import APIError
except ImportError:  # connect() says so
    APIError = OSError  # type: ignore[assignment,misc]

HOME = "/sandbox"
ADDED_OR_CHANGED = (0, 1)  # as the engine numbers them


class Snapshot:
    """What a sandbox has in its home beyond its image. A list of digests is written last: without it there is no snapshot."""

    def __init__(self, client: OpenShell, sandbox: str) -> None:
        self.client = client
        self.sandbox = sandbox

    @property
    def _archive(self) -> str:
        return os.path.join(self.client.home, ".nemoclaw", "rebuild-backups", f"{self.client.gateway}-{self.sandbox}.tar")

    @property
    def _list(self) -> str:
        return f"{self._archive}.json"

    @property
    def exists(self) -> bool:
        return bool(self._kept())

    @property
    def pending(self) -> bool:
        """Whether the sandbox is not the one that the files are of, but one that has taken its place, or is none at all."""
        kept = self._kept()
        return bool(kept) and kept["container"] not in self._containers(self.sandbox)

    def _kept(self) -> dict[str, t.Any]:
        return json.loads(read(self._list) or b"{}")

    def drop(self) -> None:
        for path in (self._list, self._archive):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def take(self) -> None:
        """Keep the files of the sandbox's container, stopped or not. What is kept of one that is gone already stays: that rebuild did not end."""
        found = self._containers(self.sandbox)
        if self.pending or not found:
            return
        self.drop()
        make_dir(os.path.dirname(self._archive), self.client.account)
        with self._said("kept"):
            changes = connect().diff(found[0]) or []
            wanted = {change["Path"] for change in changes if change["Kind"] in ADDED_OR_CHANGED and change["Path"].startswith(f"{HOME}/")}
            descriptor = os.open(self._archive, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                digests = {}
                for member, content in self._members(found[0]):
                    if f"/{member.name}" in wanted:
                        reader = Digesting(content) if content else None
                        archive.addfile(member, reader)
                        digests[member.name] = reader.digest() if reader else member.linkname
        write(self._list, json.dumps({"container": found[0], "digests": digests}), self.client.account)

    def restore(self, sandbox: str) -> None:
        """Put what is kept into a sandbox, and compare all of it."""
        [container] = self._containers(sandbox)
        with self._said(f"put into {sandbox}"):
            with open(self._archive, "rb") as archive:
                connect().put_archive(container, "/", archive)
            found = {member.name: _digest(member, content) for member, content in self._members(container)}
        wanted = self._kept()["digests"].items()
        if different := sorted(name for name, digest in wanted if found.get(name) != digest):
            raise ResourceError(f"{len(different)} files in {sandbox} are not as they were kept, as /{different[0]}.", f"They are in {self._archive}.")

    def _containers(self, sandbox: str) -> list[str]:
        labels = {"managed-by": "openshell", "sandbox-namespace": self.client.gateway, "sandbox-name": sandbox}
        return by_labels({f"openshell.ai/{key}": value for key, value in labels.items()})

    @staticmethod
    def _members(container: str) -> t.Iterator[tuple[tarfile.TarInfo, t.IO[bytes] | None]]:
        chunks, _about = connect().get_archive(container, HOME)
        with tarfile.open(fileobj=io.BufferedReader(Chunks(chunks)), mode="r|") as archive:
            for member in archive:
                yield member, archive.extractfile(member) if member.isreg() else None

    @contextlib.contextmanager
    def _said(self, done: str) -> t.Iterator[None]:
        try:
            yield
        except (APIError, OSError, tarfile.TarError) as error:
            raise EngineError(f"The files of the sandbox {self.sandbox} could not be {done}: {error}.", "Is the disk full? See `df`.") from error


class Chunks(io.RawIOBase):
    """An answer of the engine as a file to read from."""

    def __init__(self, chunks: t.Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


class Digesting:
    """A file whose digest is known once it has been read."""

    def __init__(self, content: t.IO[bytes]) -> None:
        self._content = content
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._content.read(size)
        self._sum.update(block)
        return block

    def digest(self) -> str:
        return self._sum.hexdigest()


def _digest(member: tarfile.TarInfo, content: t.IO[bytes] | None) -> str:
    if content is None:
        return member.linkname
    reader = Digesting(content)
    while reader.read(1 << 20):
        pass
    return reader.digest()
