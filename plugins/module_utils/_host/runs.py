# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs that changed a host, kept with it: C(runs/ID/plan.json) what was to be, C(runs/ID/result.json) what came of it. Private to the collection."""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import pwd
import shutil
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.owned import read, write

if t.TYPE_CHECKING:
    Plan = dict[str, t.Any]
TIME = "%Y-%m-%dT%H:%M:%SZ"
STAMP = "%Y%m%dT%H%M%SZ"  # of an id


class Runs:
    """The runs below a directory, which belongs to the owner. An id begins with the time (UTC), so that ids sort by age."""

    def __init__(self, directory: str, owner: str = "") -> None:
        self.directory = directory
        self.owner = owner

    def all(self) -> list[dict[str, t.Any]]:
        """C({id, digest, blueprint, ok, began, ended, seconds}) of each run, the oldest first. C(ok) is false while a run has not ended well."""
        return [found for found in map(self._read, self._names()) if found]

    def _names(self) -> list[str]:
        return sorted(os.listdir(self.directory)) if os.path.isdir(self.directory) else []

    def _read(self, run: str) -> dict[str, t.Any] | None:
        plan, result = self.plan(run), self._json(run, "result.json")
        if not plan or not result:
            return None
        ended = result.get("ended", "")
        return {
            "id": run,
            "digest": plan["digest"],
            "blueprint": plan["blueprint"]["version"],
            "ok": bool(ended),
            "began": result["began"],
            "ended": ended,
            "seconds": result.get("seconds"),
        }

    def _json(self, run: str, name: str) -> dict[str, t.Any]:
        try:
            return json.loads(read(os.path.join(self.directory, run, name)) or b"{}")
        except ValueError:  # a host that went down while it was written
            return {}

    def plan(self, run: str) -> Plan:
        """The plan of a run; an empty dict where it cannot be read."""
        return self._json(run, "plan.json")

    def applied(self) -> Plan:
        """The plan that was applied last; an empty dict where there is none."""
        return next(self._plans(), {})

    def before(self) -> Plan:
        """The plan that was applied before the last one; an empty dict where there was no other."""
        plans = self._plans()
        last = next(plans, {}).get("digest")
        return next((plan for plan in plans if plan["digest"] != last), {})

    def _plans(self) -> t.Iterator[Plan]:
        """The plans of the runs that ended well, the last one first. Every comparison of a host asks for it, so no more are read than are needed."""
        for run in reversed(self._names()):
            if self._json(run, "result.json").get("ended") and (plan := self.plan(run)):
                yield plan

    def begin(self, plan: Plan, changes: list[str]) -> str:
        """Keep the plan of a run that begins, and what it is going to change; returns the run's id."""
        now = time.gmtime()
        run = f"{self._stamp(calendar.timegm(now))}-{plan['digest'][:12]}"
        self._write(run, "plan.json", plan)
        self._write(run, "result.json", {"began": time.strftime(TIME, now), "changes": changes})
        return run

    def _stamp(self, now: int) -> str:
        """The time, or a second after the last run: a clock that was put right meanwhile must not make this one the older of the two."""
        for last in reversed(self._names()):
            with contextlib.suppress(ValueError):  # what is no run
                now = max(now, calendar.timegm(time.strptime(last.partition("-")[0], STAMP)) + 1)
                break
        return time.strftime(STAMP, time.gmtime(now))

    def end(self, run: str, plan: Plan, result: dict[str, t.Any], keep: int) -> None:
        """Add what came of a run that ended well, and forget the oldest ones beyond C(keep). What the host told meanwhile may have changed the plan."""
        begun = self._json(run, "result.json")
        self._write(run, "plan.json", plan)
        now = time.gmtime()
        seconds = max(calendar.timegm(now) - calendar.timegm(time.strptime(begun["began"], TIME)), 0)
        self._write(run, "result.json", {**begun, **result, "ended": time.strftime(TIME, now), "seconds": seconds})
        previous = self.before().get("digest")
        for old in [one["id"] for one in self.all()][:-keep]:
            if self.plan(old)["digest"] != previous:  # what a rollback needs
                shutil.rmtree(os.path.join(self.directory, old))

    def _write(self, run: str, name: str, content: dict[str, t.Any]) -> None:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"  # in its order: the servers that go make room for others
        write(os.path.join(self.directory, run, name), text, pwd.getpwnam(self.owner))
