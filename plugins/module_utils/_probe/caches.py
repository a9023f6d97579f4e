# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories of models' files: the room for more, and what is there already. Private to the collection."""

from __future__ import annotations

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


def models(host: Host, path: str) -> dict[str, int]:
    """The bytes of each model's files, those that are on their way included."""
    folders = map(os.path.dirname, host.glob(f"{path}/hub/{PREFIX}*/blobs"))
    return {os.path.basename(folder)[len(PREFIX) :].replace("--", "/"): size_of(host.path(folder)) for folder in folders}


def folder_of(path: str, model: str) -> str:
    """Where a Hugging Face cache keeps a model."""
    return os.path.join(path, "hub", PREFIX + model.replace("/", "--"))


def size_of(folder: str) -> int:
    """Bytes of a model's files; those that are on their way count."""
    total = 0
    for directory, _children, files in os.walk(os.path.join(folder, "blobs")):
        for file in files:
            try:
                total += os.lstat(os.path.join(directory, file)).st_size
            except OSError:  # it was just renamed
                continue
    return total
