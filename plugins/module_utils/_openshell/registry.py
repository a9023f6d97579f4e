# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""NemoClaw's own list of the sandboxes of a user, C(~/.nemoclaw/sandboxes.json), so that its tools see ours. Private to the collection."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.owned import make_dir, read, write
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

# what tells our entries from NemoClaw's own, which are never touched
MANAGED_BY = "nemoclaw.fleet"
STALE, PATIENCE = 10, 12  # seconds; as NemoClaw treats this lock


def load(path: str) -> dict[str, t.Any]:
    """The list; empty where there is none. Raises ResourceError for a file that holds none."""
    try:
        found = json.loads(read(path) or b"{}")
        sandboxes = found.get("sandboxes", {})
        if isinstance(sandboxes, dict) and all(isinstance(entry, dict) for entry in sandboxes.values()):
            return {**found, "sandboxes": sandboxes}
    except (ValueError, AttributeError):
        pass
    raise ResourceError(f"{path} is not a list of NemoClaw's sandboxes.", "Move it away, or put a copy of it back, and run again.")


def ours(path: str) -> bool:
    """Whether every sandbox in a file is one of this collection's."""
    try:
        entries = load(path)["sandboxes"].values()
    except (ResourceError, OSError):
        return False
    return bool(entries) and all(entry.get("managedBy") == MANAGED_BY for entry in entries)


class Registry(Resource):
    """The entry of a sandbox: C({path, owner, gateway, name, entry, state}). Absent without a name, all entries of the gateway are gone."""

    kind = "registry"

    @property
    def name(self) -> str:
        return self.desired.get("name") or self.desired["gateway"]

    def _mine(self, name: str, entry: dict[str, t.Any]) -> bool:
        ours = (entry.get("managedBy"), entry.get("gatewayName")) == (MANAGED_BY, self.desired["gateway"])
        return ours and self.desired.get("name") in (None, "", name)

    @property
    def _wanted(self) -> dict[str, t.Any]:
        return {**self.desired["entry"], "name": self.name, "gatewayName": self.desired["gateway"], "managedBy": MANAGED_BY}

    def read(self) -> dict[str, t.Any]:
        """The entries in question, by name."""
        found = load(self.desired["path"])["sandboxes"]
        return {name: entry for name, entry in found.items() if self._mine(name, entry) or name == self.desired.get("name")}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [Change(f"{self.kind}/{name}", "state", "present", "absent") for name, entry in state.items() if self._mine(name, entry)]
        found = state.get(self.name)
        if found is None:
            return [self.change("state", "absent", "present")]
        if not self._mine(self.name, found):
            return []  # NemoClaw's own sandbox of that name
        known = {key: value for key, value in found.items() if key != "createdAt"}
        return [self.change(key, known.get(key), self._wanted.get(key)) for key in sorted({*known, *self._wanted}) if known.get(key) != self._wanted.get(key)]

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        account = pwd.getpwnam(self.desired["owner"])
        path = self.desired["path"]
        make_dir(os.path.dirname(path), account)
        with locked(path):
            listing = load(path)
            created = listing["sandboxes"].get(self.name, {}).get("createdAt") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            entries = {name: entry for name, entry in listing["sandboxes"].items() if not self._mine(name, entry)}
            if not self.absent:
                entries[self.name] = {**self._wanted, "createdAt": created}
            if not entries:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                return
            default = listing.get("defaultSandbox")
            listing.update(sandboxes=entries, defaultSandbox=default if default in entries else next(iter(entries)))
            write(path, json.dumps(listing, indent=2) + "\n", account)


@contextlib.contextmanager
def locked(path: str) -> t.Iterator[None]:
    """NemoClaw's own lock of the file: a directory, which is nobody's when it is old."""
    lock, deadline = f"{path}.lock", time.monotonic() + PATIENCE
    while True:
        try:
            os.mkdir(lock, 0o700)
            break
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(lock).st_mtime > STALE:
                    shutil.rmtree(lock, ignore_errors=True)
        if time.monotonic() > deadline:
            raise ResourceError(f"{lock} is held by somebody else.", "Wait for NemoClaw to end, and run again.")
        time.sleep(0.1)
    try:
        yield
    finally:
        shutil.rmtree(lock, ignore_errors=True)
