# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A swap file where memory and swap are less than a host needs. Private to the collection."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.command import call
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import replace
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

FSTAB = "/etc/fstab"
SWAPS = "/proc/swaps"
MEMINFO = "/proc/meminfo"
OURS = "# made by nemoclaw.fleet, which takes it away when the host is offboarded"
SPARE_MB = 1024  # of disk, that must be free beside the file


class Swap(Resource):
    """C({name, size_mb, least_mb}): C(name) is the file; it is made where memory and other swap are less than C(least_mb), and then kept at its size."""

    kind = "swap"

    def read(self) -> dict[str, t.Any]:
        lines = _fstab()
        sizes = active(_text(SWAPS))
        mine = (OURS, self.entry) in zip(lines, lines[1:])
        here = sizes.pop(self.name, 0)
        if not (mine or here or os.path.exists(self.name)):
            return {"without_mb": _memory_mb() + sum(sizes.values())}
        return {
            "without_mb": _memory_mb() + sum(sizes.values()),
            "ours": mine,
            "size_mb": os.path.getsize(self.name) >> 20 if os.path.exists(self.name) else 0,
            "active": bool(here),
        }

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        there = "ours" in state
        if self.absent:
            return [self.change("state", "present", "absent")] if state.get("ours") else []
        if state["without_mb"] >= self.desired["least_mb"] and not state.get("ours"):
            return []
        if not there:
            return [self.change("state", "absent", "present"), self.change("size_mb", 0, self.desired["size_mb"])]
        return self.compare(state, {"size_mb": self.desired["size_mb"], "active": True, "ours": True})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if "ours" in state and not state["ours"]:
            raise ResourceError(f"{self.name} is there and was not made by this collection.", "Name another file in nemoclaw_swap.path.")
        fits = not self.absent and state.get("size_mb") == self.desired["size_mb"]
        if not (self.absent or fits):
            self._check_space(state.get("size_mb", 0))
        if state.get("active") and not fits:
            call("swapoff", self.name, remedy="It is in use and memory is short: stop what needs it, and run again.")
        if self.absent:
            self._drop()
            return
        # its line first: a run that is interrupted leaves a file that the next one knows as its own
        if not state.get("ours"):
            _write_fstab([*_fstab(), OURS, self.entry])
        try:
            if not fits:
                self._make()
            call("mkswap", self.name)  # also a whole file: a run may have been interrupted before this
            call("swapon", self.name)
        except (OSError, ResourceError) as error:
            self._drop()
            raise ResourceError(f"{self.name} cannot be swap: {error}.", "Name a file on ext4 or xfs in nemoclaw_swap.path.") from None

    @property
    def entry(self) -> str:
        return f"{self.name} none swap sw 0 0"

    def _check_space(self, given_back_mb: int) -> None:
        directory = os.path.dirname(self.name)
        try:
            found = os.statvfs(directory)
        except FileNotFoundError:
            raise ResourceError(f"There is no directory {directory}.", "Name a file in one that is there in nemoclaw_swap.path.") from None
        free, needed = (found.f_bavail * found.f_frsize >> 20) + given_back_mb, self.desired["size_mb"] + SPARE_MB
        if free < needed:
            remedy = "Free some, or set nemoclaw_swap to a smaller size_mb or to a path on another file system."
            raise ResourceError(f"{directory} has {free} MiB free, a swap file of {self.desired['size_mb']} MiB needs {needed}.", remedy)

    def _make(self) -> None:
        if os.path.exists(self.name):
            os.unlink(self.name)
        descriptor = os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.desired["size_mb"] << 20)
        finally:
            os.close(descriptor)

    def _drop(self) -> None:
        lines = _fstab()
        if (OURS, self.entry) in zip(lines, lines[1:]):
            index = list(zip(lines, lines[1:])).index((OURS, self.entry))
            _write_fstab(lines[:index] + lines[index + 2 :])
        if os.path.exists(self.name):
            os.unlink(self.name)


def active(swaps: str) -> dict[str, int]:
    """Each swap in use and its size in MiB, of /proc/swaps."""
    rows = [line.split() for line in swaps.splitlines()[1:]]
    return {row[0]: int(row[2]) >> 10 for row in rows if len(row) > 2}


def _memory_mb() -> int:
    found = re.search(r"^MemTotal:\s+(\d+) kB", _text(MEMINFO), re.MULTILINE)
    return int(found.group(1)) >> 10 if found else 0


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def _fstab() -> list[str]:
    return _text(FSTAB).splitlines()


def _write_fstab(lines: list[str]) -> None:
    """In one step: a host without a whole fstab does not boot."""
    replace(FSTAB, "".join(f"{line}\n" for line in lines))
