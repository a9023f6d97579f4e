# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random secrets that a host makes for itself: the token of its proxy, the key of a model server. Private to the collection."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import File
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change


def read(path: str) -> str:
    """The secret in a file; empty where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(path, encoding="ascii") as stream:
        return stream.read().strip()
    return ""


def write(path: str, secret: str, owner: str, group: str, mode: str) -> None:
    """Replace the file in one step; nobody else can read it at any time."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        stream.write(f"{secret}\n")
    shutil.chown(temporary, owner, group)
    os.chmod(temporary, int(mode, 8))
    os.replace(temporary, path)


class SecretFile(File):
    """C({path, bytes, owner, group, mode}): as many random bytes, written as hexadecimal digits. Made once, then kept; never part of a state or a change."""

    kind = "secret"

    def read(self) -> dict[str, t.Any]:
        state = super().read()
        return {**state, "made": len(read(self.name)) >= 2 * self.desired.get("bytes", 0)} if state else {}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        return self.compare(state, {"made": True, **{key: self.desired[key] for key in ("owner", "group", "mode")}})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            os.unlink(self.name)
            return
        secret = read(self.name) if state.get("made") else secrets.token_hex(self.desired["bytes"])
        write(self.name, secret, self.desired["owner"], self.desired["group"], self.desired["mode"])
