# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One at a time: two runs, or two hosts of an inventory that are one machine, must not undo each other's work. Private to the collection."""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Resource

LOCKS = "/run"


@contextlib.contextmanager
def alone(name: str) -> t.Iterator[bool]:
    """Whether somebody else was waited for: what was read before that is of no use any more. The lock goes with its process."""
    try:
        lock = os.open(os.path.join(LOCKS, f"{name}.nemoclaw.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    except PermissionError:  # others than root have nothing to lock with
        yield False
        return
    try:
        taken = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken = True
            Progress(name).say("another run is at it, and is waited for", at_once=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield taken
    finally:
        os.close(lock)


def apply(resource: Resource, name: str, state: dict[str, t.Any], make: t.Callable[[dict[str, t.Any]], None]) -> None:
    """C(make) the resource from its state, unless somebody who was waited for has made it meanwhile."""
    with alone(name) as waited:
        if waited and not resource.diff(state := resource.read()):
            return
        make(state)
