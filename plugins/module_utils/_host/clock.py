# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock that is kept right. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.command import call
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import systemctl
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.clock import SERVICES
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource

OTHERS = tuple(name for name in SERVICES if name != "systemd-timesyncd")
REMEDY = "Run 'apt-get install systemd-timesyncd', or install chrony."


class Clock(Resource):
    """C({name}): some service keeps the clock right; where none does, systemd's own is switched on. It is never switched off again."""

    kind = "clock"

    def read(self) -> dict[str, t.Any]:
        shown = dict(line.partition("=")[::2] for line in call("timedatectl", "show", "-p", "NTP", "-p", "CanNTP").splitlines())
        states = systemctl("show", "-p", "ActiveState", "--value", *(f"{name}.service" for name in OTHERS)).split()
        return {"kept": shown.get("NTP") == "yes" or "active" in states}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        return [] if self.absent else self.compare(state, {"kept": True})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        call("timedatectl", "set-ntp", "true", remedy=REMEDY)
