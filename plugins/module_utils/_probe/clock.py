# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's clock: whether something keeps it right, and how far it is from the controller's. Private to the collection."""

from __future__ import annotations

import ctypes

UNSYNCHRONISED = 0x40  # STA_UNSYNC
SERVICES = ("systemd-timesyncd", "chrony", "chronyd", "ntpsec", "ntp", "ntpd", "openntpd", "ptp4l", "phc2sys")


class Timex(ctypes.Structure):
    """The beginning of the kernel's struct timex; what follows is not read."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    ]


def synchronised() -> bool | None:
    """Whether the kernel holds its clock for right; None where it does not say."""
    state = Timex()  # no modes: nothing is set
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state)) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return not state.status & UNSYNCHRONISED


def read(controller_time: float, now: float, units: dict[str, dict[str, str]]) -> dict:
    """C({synchronised, service, offset_s}); C(units) is what systemd says of units, C(offset_s) is None without the controller's time.

    C(now) is the host's time when it was given the controller's.
    """
    running = [name for name in SERVICES if units.get(f"{name}.service", {}).get("ActiveState") == "active"]
    return {
        "synchronised": synchronised(),
        "service": running[0] if running else "",
        "offset_s": round(now - controller_time) if controller_time else None,
    }
