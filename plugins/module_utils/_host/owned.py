# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files written on behalf of the owner of a gateway. Private to the collection."""

from __future__ import annotations

import os
import pwd


def make_dir(path: str, account: pwd.struct_passwd) -> None:
    """A directory of the owner, 0700, with its missing parents."""
    if os.path.isdir(path):
        return
    make_dir(os.path.dirname(path), account)
    os.mkdir(path, 0o700)
    os.chown(path, account.pw_uid, account.pw_gid)


def write(path: str, content: str | bytes, account: pwd.struct_passwd) -> None:
    """Replace a file of the owner, 0600, in one step; its directory is made when missing."""
    make_dir(os.path.dirname(path), account)
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
    os.chown(temporary, account.pw_uid, account.pw_gid)
    os.replace(temporary, path)


def read(path: str) -> bytes | None:
    """A file's bytes; None where there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
