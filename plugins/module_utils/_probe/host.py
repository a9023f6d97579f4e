# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host as the probe sees it: files below a root, and commands that may hang. Private to the collection."""

from __future__ import annotations

import contextlib
import glob
import os
import subprocess
import time
import typing as t

# seconds; a busy host is slow, only one where something hangs waits so long
PATIENCE = 20
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Outcome(t.NamedTuple):
    """How a command ended. C(rc) is None when it did not end in time."""

    rc: int | None
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return f"{self.stdout}\n{self.stderr}".strip()


class Host:
    """Read-only. C(root) lets tests lay out the files of another machine."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def path(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))

    def text(self, path: str) -> str:
        """A file's text; an empty string where it cannot be read."""
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as stream:
                return stream.read().strip("\0\n ")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return os.path.exists(self.path(path))

    def glob(self, pattern: str) -> list[str]:
        """Paths as seen from the root, sorted."""
        cut = len(self.root.rstrip("/"))
        return sorted(found[cut:] for found in glob.glob(self.path(pattern)))

    def which(self, name: str, *places: str) -> str:
        """The path of a program: in C(places), else on root's PATH; an empty string when there is none."""
        for place in [*places, *PATH.split(":")]:
            if place and os.access(self.path(os.path.join(place, name)), os.X_OK):
                return os.path.join(place, name)
        return ""

    def run(self, *commands: t.Sequence[str], timeout: float = PATIENCE) -> list[Outcome]:
        """Run commands side by side; together they have C(timeout) seconds.

        A program stuck in the kernel survives its SIGKILL (nvidia-smi on a dead GPU does), so nothing waits for one.
        """
        children = [self._start(command) for command in commands]
        deadline = time.monotonic() + timeout
        return [child if isinstance(child, Outcome) else _collect(child, deadline) for child in children]

    def _start(self, command: t.Sequence[str]) -> subprocess.Popen[str] | Outcome:
        environment = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
        try:
            # run_command would wait for a child that cannot be killed
            return subprocess.Popen(  # pylint: disable=ansible-bad-function
                [self.path(command[0]), *command[1:]], env=environment, start_new_session=True, encoding="utf-8", errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as exc:
            return Outcome(127, "", str(exc))


def _collect(child: subprocess.Popen[str], deadline: float) -> Outcome:
    try:
        stdout, stderr = child.communicate(timeout=max(0.5, deadline - time.monotonic()))
        return Outcome(child.returncode, stdout, stderr)
    except subprocess.TimeoutExpired:
        child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.communicate(timeout=0.2)
    return Outcome(None, "", "")
