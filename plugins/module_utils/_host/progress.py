# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of work that takes long: one line now and then, in its journal and for the controller that asked. Private to the collection."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import syslog
import threading
import time
import typing as t

TAG = "nemoclaw"  # journalctl -t nemoclaw -f
EVERY = 10  # seconds between two lines in the journal
OFTEN = 1  # second between two in the file, which is read when the controller likes
FILES = "/run/nemoclaw-progress"
ASKED = "NEMOCLAW_PROGRESS"  # in the module's environment: name of the file that the controller reads
NAME = re.compile(r"[0-9a-f]{32}")


class Progress:
    def __init__(self, what: str, every: float = EVERY) -> None:
        self._what, self._every = what, every
        self._written = time.monotonic()
        self._next = self._written + every
        self._first: tuple[float, float] | None = None

    def say(self, text: str, at_once: bool = False) -> None:
        """Write the line, unless the last one is too recent."""
        now = time.monotonic()
        if at_once or now >= self._written + OFTEN:
            self._written = now
            _write(f"{self._what}: {text}")
        if not at_once and now < self._next:
            return
        self._next = now + self._every
        syslog.openlog(TAG)
        syslog.syslog(syslog.LOG_INFO, f"{self._what}: {text}")
        syslog.closelog()

    def waited(self, text: str, since: float, longest: float) -> None:
        """Say for how long something is waited for, since a time of the monotonic clock, and how long it may be."""
        self.say(f"{text}, {time.monotonic() - since:.0f} s of at most {longest:.0f} s")

    @contextlib.contextmanager
    def waiting(self, text: str, longest: float) -> t.Iterator[None]:
        """While it is entered, say so of what tells nothing itself."""
        ended, began = threading.Event(), time.monotonic()

        def tell() -> None:
            while not ended.wait(OFTEN):
                self.waited(text, began, longest)

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def fetched(self, done: float, total: float) -> None:
        """Say how far a download is, and how fast since the first time; what was there by then came earlier."""
        now = time.monotonic()
        began, before = self._first = self._first or (now, done)
        self.say(share(done, total, (done - before) / max(now - began, 0.1)))


def share(done: float, total: float, rate: float) -> str:
    """Bytes of all bytes, where it is known how many, and bytes a second until the end."""
    of_all = f" of {amount(total)} ({min(100 * done // total, 100):.0f} %)" if total else ""
    return f"{amount(done)}{of_all}" if 0 < total <= done else f"{amount(done)}{of_all}, {amount(rate)}/s"


def amount(number: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _write(line: str) -> None:
    path = _file()
    if path:
        with contextlib.suppress(OSError):
            with open(f"{path}.new", "w", encoding="utf-8") as stream:
                stream.write(f"{line}\n")
            os.chmod(f"{path}.new", 0o644)  # whoever logs in reads it, without sudo
            os.replace(f"{path}.new", path)


@functools.cache
def _file() -> str:
    """Path of the file; empty where nobody asked, or where this user may not write there. It goes with this process."""
    name = os.environ.get(ASKED, "")
    if not NAME.fullmatch(name):
        return ""
    try:
        os.makedirs(FILES, exist_ok=True)
        os.chmod(FILES, 0o711)  # a file is read by its name alone
    except OSError:
        return ""
    path = os.path.join(FILES, name)
    atexit.register(_forget, path)
    return path


def _forget(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
    with contextlib.suppress(OSError):  # others are at work
        os.rmdir(FILES)
