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


class PrivateFile(File):
    """C({path, owner, group, mode}) of a file whose content is part of no state and no change; C(mark) is the field that says whether it is right."""

    mark = ""

    def _right(self, content: str) -> bool:
        raise NotImplementedError

    def _wanted(self, content: str) -> str:
        """What is to be there, where this is now."""
        raise NotImplementedError

    def read(self) -> dict[str, t.Any]:
        state = super().read()
        return {**state, self.mark: self._right(read(self.name))} if state else {}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        return self.compare(state, {self.mark: True, **{key: self.desired[key] for key in ("owner", "group", "mode")}})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            os.unlink(self.name)
            return
        write(self.name, self._wanted(read(self.name)), self.desired["owner"], self.desired["group"], self.desired["mode"])


class SecretFile(PrivateFile):
    """C({path, bytes, owner, group, mode}): as many random bytes, written as hexadecimal digits. Made once, then kept."""

    kind = "secret"
    mark = "made"

    def _right(self, content: str) -> bool:
        return len(content) >= 2 * self.desired.get("bytes", 0)

    def _wanted(self, content: str) -> str:
        return content if self._right(content) else secrets.token_hex(self.desired["bytes"])
