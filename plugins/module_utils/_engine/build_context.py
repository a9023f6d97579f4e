# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is built from, as data: its digest names the image, its tar goes to the engine. Pure but for reading files; private to the collection.

The controller's plan and the host's module name an image alike because both use this.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

DIGITS = 16  # of the digest, in the tag
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)


class Entry(t.NamedTuple):
    """A file of the context."""

    path: str
    mode: str
    data: bytes


def entries(files: list[dict[str, t.Any]], context_dir: str | None = None) -> list[Entry]:
    """The context's files, by path: those of a directory, then C([{path, content | src, mode}]) over them. C(mode) is octal text."""
    found = {entry.path: entry for entry in _walk(context_dir)} if context_dir else {}
    for one in files:
        path = os.path.normpath(one["path"])
        if path.startswith(("/", "..")):
            raise ResourceError(f"The file {one['path']} is outside of the build context.", "Name files by a path below the context.")
        data = _read(one["src"]) if one.get("src") else (one.get("content") or "").encode()
        found[path] = Entry(path, one.get("mode") or "0644", data)
    return [found[path] for path in sorted(found)]


def _walk(top: str) -> t.Iterator[Entry]:
    for directory, _directories, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            yield Entry(os.path.relpath(path, top), "0755" if os.access(path, os.X_OK) else "0644", _read(path))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise ResourceError(f"A file of the build context cannot be read: {error}.", "Put it on the host first, or correct its src.") from error


def digest(context: list[Entry], dockerfile: str, build_args: dict[str, str], labels: dict[str, str]) -> str:
    """SHA-256, in hex, of everything that decides what is built."""
    inputs = {
        "dockerfile": dockerfile,
        "build_args": {key: str(value) for key, value in build_args.items()},
        "labels": {key: str(value) for key, value in labels.items()},
        "files": [[entry.path, entry.mode, hashlib.sha256(entry.data).hexdigest()] for entry in context],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def build_name(
    name: str,
    files: list[dict[str, t.Any]],
    build_args: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    dockerfile: str = "Dockerfile",
    context_dir: str | None = None,
) -> str:
    """C(name:<digest of the inputs>): the reference of the image that these inputs make."""
    return f"{name}:{digest(entries(files, context_dir), dockerfile, build_args or {}, labels or {})[:DIGITS]}"


def tar(context: list[Entry]) -> t.IO[bytes]:
    """The context as the engine takes it. The same files give the same bytes, so that the engine's layer cache holds."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for entry in context:
            info = tarfile.TarInfo(entry.path)
            info.size, info.mode = len(entry.data), int(entry.mode, 8)
            archive.addfile(info, io.BytesIO(entry.data))
    stream.seek(0)
    return stream


def base_images(dockerfile: str, build_args: dict[str, str]) -> list[str]:
    """The images that a Dockerfile starts from, its own stages and C(scratch) left out."""
    arguments: dict[str, str] = {}
    stages: set[str] = {"scratch"}
    found = []
    for line in dockerfile.splitlines():
        words = line.split()
        keyword = words[0].upper() if words else ""
        if keyword == "ARG" and not found:
            key, _equals, default = words[1].partition("=")
            arguments[key] = str(build_args.get(key, default.strip("\"'")))
        elif keyword == "FROM":
            names = [word for word in words[1:] if not word.startswith("--")]
            image = re.sub(r"\$\{?(\w+)(?::-([^}]*))?\}?", lambda match: arguments.get(match.group(1)) or match.group(2) or "", names[0])
            if image not in stages and image not in found:
                found.append(image)
            stages.update(names[2:3])
    return found


def secrets_in(build_args: dict[str, str]) -> list[str]:
    """Names of build arguments that look like secrets: everybody who has the image can read build arguments in its history."""
    return sorted(name for name, value in build_args.items() if value and SECRET.search(name))
