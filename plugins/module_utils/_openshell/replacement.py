# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs replaced under the gateways that run from them: all of them or none, and back when a gateway does not take the new ones. Private to the collection.

What is to be done is written down before each step, so that a replacement that was interrupted anywhere is finished, or taken back, by the next run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.services import NotReady, Service
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

# the steps that a journal can stand before; from BACK on it is a way back
STOP, SWAP, START, BACK, AGAIN = "stop", "swap", "start", "back", "again"


class Store:
    """What is kept beside the programs, by root alone: the record of what was installed, and the programs before, to go back to.

    During a replacement the new programs are in C(next) and the old ones in C(previous); C(journal) says how far it is.
    """

    def __init__(self, bin_dir: str) -> None:
        self.bin_dir = bin_dir
        self.path = os.path.join(bin_dir, ".nemoclaw-openshell")
        self.next = os.path.join(self.path, "next")
        self.previous = os.path.join(self.path, "previous")
        self.kept = os.path.join(self.path, "kept")

    def live(self, program: str) -> str:
        return os.path.join(self.bin_dir, program)

    def read(self, name: str) -> dict[str, t.Any]:
        """C(record), C(kept/record) or C(journal); empty where there is none."""
        try:
            with open(os.path.join(self.path, f"{name}.json"), encoding="utf-8") as stream:
                return json.load(stream)
        except (OSError, ValueError):
            return {}

    def write(self, name: str, value: dict[str, t.Any]) -> None:
        path = os.path.join(self.path, f"{name}.json")
        with open(f"{path}.new", "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(f"{path}.new", path)
        sync_directory(os.path.dirname(path))

    def drop(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.path, f"{name}.json"))
        sync_directory(self.path)

    def empty(self, directory: str) -> str:
        """The directory, new and empty."""
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory, mode=0o700)
        return directory

    def clear(self) -> None:
        """No programs but the live ones and those from before."""
        for directory in (self.next, self.previous):
            shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[None]:
        """One replacement at a time: two gateways of a host are two hosts of an inventory."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        with open(os.path.join(self.path, "lock"), "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def sync_directory(path: str) -> None:
    """Have renames in a directory on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Replacement:
    """The programs in C(store.next) become the live ones. C(timeout) are the seconds that a gateway gets, C(keep) the backups of each that are kept."""

    def __init__(self, store: Store, timeout: float, keep: int) -> None:
        self.store, self.timeout, self.keep = store, timeout, keep

    def begin(self, programs: dict[str, str], before: str, after: str, record: dict[str, t.Any]) -> None:
        """Replace; C(programs) maps names to digests, C(before) and C(after) are versions, C(record) is kept on success."""
        gateways = {}
        for service in Service.all(self.store.bin_dir):
            started = service.is_started()
            ready = started and service.is_ready()
            gateways[service.unit] = {
                "started": started,
                "ready": ready,
                "sandboxes": service.sandboxes(self.store.bin_dir) if ready else [],
                "dependents": service.dependents,
                "backup": "",
            }
        self.store.empty(self.store.previous)
        existing = [program for program in programs if os.path.lexists(self.store.live(program))]
        for program in existing:
            os.link(self.store.live(program), os.path.join(self.store.previous, program), follow_symlinks=False)
        digests = {program: sha256(self.store.live(program)) for program in existing}
        of_record = {program: digests.get(program) for program in programs} == self.store.read("record").get("programs")
        remembered = self.store.read("record") if of_record else {"version": before, "archives": {}, "programs": digests}
        self.store.write("previous/record", remembered)
        versions = {"before": before, "after": after}
        self._go({"step": STOP, **versions, "programs": programs, "existing": existing, "record": record, "gateways": gateways, "reason": ""})

    def resume(self) -> None:
        """Finish what an earlier run began."""
        journal = self.store.read("journal")
        if not journal:
            return
        untouched = all(os.path.exists(os.path.join(self.store.next, program)) for program in journal["programs"])
        if journal["step"] == SWAP and untouched:
            journal["step"] = STOP  # the gateways may have run since: their state is copied anew
        self._go(journal)

    def _go(self, journal: dict[str, t.Any]) -> None:
        try:
            if journal["step"] == STOP:
                self._at(journal, STOP)
                self._stop(journal)
                self._backup(journal)
                self._at(journal, SWAP)
            if journal["step"] == SWAP:
                self._swap(journal)
                self._at(journal, START)
            if journal["step"] == START:
                self._start(journal, journal["after"])
                self.store.write("record", journal["record"])
                self._keep(journal)
                self._done()
                return
        except (NotReady, OSError, ResourceError) as error:
            journal["reason"] = getattr(error, "message", str(error)).rstrip(".")
            self._at(journal, BACK)
        self._back(journal)

    def _at(self, journal: dict[str, t.Any], step: str) -> None:
        journal["step"] = step
        self.store.write("journal", journal)

    def _services(self, journal: dict[str, t.Any]) -> list[tuple[Service, dict[str, t.Any]]]:
        return [(service, journal["gateways"][service.unit]) for service in Service.all(self.store.bin_dir) if service.unit in journal["gateways"]]

    def _stop(self, journal: dict[str, t.Any]) -> None:
        for service, found in self._services(journal):
            service.stop(found["dependents"])

    def _backup(self, journal: dict[str, t.Any]) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for service, found in self._services(journal):
            found["backup"] = service.backup(f"{stamp}-{journal['before'] or 'unknown'}", self.keep)

    def _swap(self, journal: dict[str, t.Any]) -> None:
        for program in journal["programs"]:
            staged = os.path.join(self.store.next, program)
            if os.path.exists(staged):
                os.replace(staged, self.store.live(program))
        sync_directory(self.store.bin_dir)
        for program, expected in journal["programs"].items():
            if sha256(self.store.live(program)) != expected:
                raise ResourceError(f"{self.store.live(program)} is not what was verified.", "Run again.")

    def _start(self, journal: dict[str, t.Any], version: str) -> None:
        """Start what ran, and wait for what was ready."""
        for service, found in self._services(journal):
            if found["started"]:
                service.start()
        for service, found in self._services(journal):
            if found["ready"]:
                service.await_ready(version, found["sandboxes"], self.store.bin_dir, self.timeout)
            if found["started"]:
                service.start(found["dependents"])

    def _keep(self, journal: dict[str, t.Any]) -> None:
        """The whole set from before stays, so that a plan from before can be applied without its source."""
        if set(journal["existing"]) == set(journal["programs"]) and os.path.isdir(self.store.previous):
            shutil.rmtree(self.store.kept, ignore_errors=True)
            os.replace(self.store.previous, self.store.kept)

    def _done(self) -> None:
        self.store.drop("journal")
        self.store.clear()

    def _back(self, journal: dict[str, t.Any]) -> None:
        """The programs and states from before; always ends in an error."""
        if journal["step"] == BACK:
            self._stop(journal)
            self._swap_back(journal)
            for service, found in self._services(journal):
                if found["backup"]:
                    service.restore(found["backup"])
            self._at(journal, AGAIN)
        before = journal["before"] or "from before"
        said = f"OpenShell {journal['after']} was taken back, because {journal['reason']}."
        see = f"See `journalctl -u {next(iter(journal['gateways']), '*-gateway')}`."
        copies = ", ".join(found["backup"] for found in journal["gateways"].values() if found["backup"])
        copies = f" (kept in {copies})" if copies else ""
        try:
            self._start(journal, journal["before"])
        except NotReady as error:
            self._done()
            raise ResourceError(f"{said} OpenShell {before} with the database and the key from before{copies} is not well either: {error}.", see) from None
        self._done()
        raise ResourceError(
            f"{said} OpenShell {before} runs again, with the database and the key from before{copies}. A sandbox made since then is unknown to it.", see
        )

    def _swap_back(self, journal: dict[str, t.Any]) -> None:
        for program in journal["programs"]:
            old = os.path.join(self.store.previous, program)
            if os.path.lexists(old):
                os.replace(old, self.store.live(program))
            elif program not in journal["existing"]:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.store.live(program))
        sync_directory(self.store.bin_dir)
