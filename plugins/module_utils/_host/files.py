# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories of a host as the plan names them: read and compared here, written by ansible.builtin modules. Private to the collection."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import stat
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource


def sha256(path: str) -> str:
    """Hex digest of a file's contents."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def replace(path: str, text: str, check: t.Callable[[str], None] | None = None) -> None:
    """Write a file of the host in one step, when C(check) takes the new one. One that is there keeps its mode."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.new"
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o644)
        if check:
            check(temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _name_of(lookup: t.Callable[[int], t.Any], number: int) -> str:
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)


class File(Resource):
    """C({path, owner, group, mode, content | sha256}); a directory has neither content nor digest."""

    kind = "file"

    @property
    def name(self) -> str:
        return self.desired["path"]

    def read(self) -> dict[str, t.Any]:
        try:
            info = os.stat(self.name)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        state = {
            "owner": _name_of(pwd.getpwuid, info.st_uid),
            "group": _name_of(grp.getgrgid, info.st_gid),
            "mode": f"{stat.S_IMODE(info.st_mode):04o}",
        }
        if "content" in self.desired and stat.S_ISREG(info.st_mode):
            with open(self.name, encoding="utf-8", errors="replace") as stream:
                state["content"] = stream.read()
        elif "sha256" in self.desired and stat.S_ISREG(info.st_mode):
            state["sha256"] = sha256(self.name)
        return state

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        wanted = {key: self.desired[key] for key in ("owner", "group", "mode", "content", "sha256") if key in self.desired}
        return self.compare(state, wanted)
