# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of work that takes long: one line now and then, in its journal. Private to the collection."""

from __future__ import annotations

import syslog
import time

TAG = "nemoclaw"  # journalctl -t nemoclaw -f
EVERY = 10  # seconds


class Progress:
    def __init__(self, what: str, every: float = EVERY) -> None:
        self._what, self._every = what, every
        self._next = time.monotonic() + every

    def say(self, text: str, at_once: bool = False) -> None:
        """Write the line, unless the last one is too recent."""
        if not at_once and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        syslog.openlog(TAG)
        syslog.syslog(syslog.LOG_INFO, f"{self._what}: {text}")
        syslog.closelog()


def amount(number: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
