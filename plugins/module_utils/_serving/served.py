# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which id each NIM of a host serves, in a file beside its key: a plan needs it also while the server is down. Private to the collection."""

from __future__ import annotations

import contextlib
import json
import os
import re
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import files

DIRECTORY = "/etc/nemoclaw/nim"
SUFFIX = ".served.json"
SAFE = re.compile(r"[A-Za-z0-9._:/-]+")  # ids that configurations and URLs take as they are


def path_of(container: str) -> str:
    return os.path.join(DIRECTORY, f"{container}{SUFFIX}")


def keep(container: str, image: str, asked: str, served: str) -> None:
    """The id that the image serves where it was told to serve as C(asked)."""
    record = {"image": image, "asked": asked, "served": served}
    if _read(path_of(container)) != record:
        files.replace(path_of(container), json.dumps(record, indent=1) + "\n")


def forget(container: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path_of(container))


def all_of(directory: str = "") -> dict[str, dict[str, str]]:
    """C({image, asked, served}) by container."""
    directory = directory or DIRECTORY
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    found = {name[: -len(SUFFIX)]: _read(os.path.join(directory, name)) for name in names if name.endswith(SUFFIX)}
    return {name: record for name, record in found.items() if record}


def served(records: dict[str, dict[str, str]], container: str, image: str, asked: str) -> str:
    """The id to ask for: what was seen of this very image and wish, else the wish."""
    record = records.get(container) or {}
    known = (record.get("image"), record.get("asked")) == (image, asked) and SAFE.fullmatch(str(record.get("served", "")))
    return record["served"] if known else asked


def _read(path: str) -> dict[str, t.Any]:
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as stream:
        record = json.load(stream)
        return record if isinstance(record, dict) else {}
    return {}
