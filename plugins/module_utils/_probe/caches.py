# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories of models' files: the room for more, and what is there already. Private to the collection."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import storage
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

PREFIX = "models--"  # of a model's directory in a Hugging Face cache


def read(host: Host, asked: list[str]) -> dict[str, dict[str, t.Any]]:
    """Each by what it was asked as; C(~user/…) of a user that is to be made is where such homes are."""
    places = {one: expanded(one) for one in asked}
    disks = storage.read(host, dict.fromkeys(places.values(), "models"))
    return {one: {**{key: disks[path][key] for key in ("free_gb", "mount")}, "models": models(host, path)} for one, path in places.items()}


def expanded(path: str) -> str:
    found = os.path.expanduser(path)
    return f"/home/{found[1:]}" if found.startswith("~") else found


def models(host: Host, path: str) -> dict[str, dict[str, int]]:
    """The bytes of each model's files, by revision, see C(sizes)."""
    folders = map(os.path.dirname, host.glob(f"{path}/hub/{PREFIX}*/blobs"))
    return {os.path.basename(folder)[len(PREFIX) :].replace("--", "/"): sizes(host.path(folder)) for folder in folders}


def folder_of(path: str, model: str) -> str:
    """Where a Hugging Face cache keeps a model."""
    return os.path.join(path, "hub", PREFIX + model.replace("/", "--"))


def sizes(folder: str) -> dict[str, int]:
    """Bytes of a model's files by the revision that has them; by an empty one those that none has, such as what is on its way."""
    blobs: dict[str, int] = {}
    linked: dict[str, set[str]] = {}
    for path in _files(os.path.join(folder, "blobs")):
        with contextlib.suppress(OSError):  # it was just renamed
            blobs[os.path.basename(path)] = os.lstat(path).st_size
    snapshots = os.path.join(folder, "snapshots")
    for path in _files(snapshots):
        with contextlib.suppress(OSError):  # no link, or gone
            linked.setdefault(os.path.relpath(path, snapshots).partition(os.sep)[0], set()).add(os.path.basename(os.readlink(path)))
    linked[""] = set(blobs).difference(*linked.values())
    return {revision: sum(blobs.get(name, 0) for name in names) for revision, names in linked.items()}


def of_revision(found: dict[str, int], revision: str) -> int:
    """What of a model's C(sizes) is a revision's, or may become its own: what only others have does not spare it a download."""
    return sum(size for name, size in found.items() if name in ("", revision))


def _files(folder: str) -> t.Iterator[str]:
    return (os.path.join(directory, name) for directory, _children, names in os.walk(folder) for name in names)
