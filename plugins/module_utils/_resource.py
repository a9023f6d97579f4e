# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every resource of a host has in common: C(read) the live state, C(diff) it against the desired one, C(apply) the difference.

Private to the collection. A resource is read-only until C(apply); the C(drift) module walks resources of a whole plan, each other module is a front on one.
"""

from __future__ import annotations

import json
import typing as t


class ResourceError(Exception):
    """A resource cannot be read or brought to its desired state. C(remedy) says what the user can do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Change(t.NamedTuple):
    """One difference: C(resource) as C(kind/name), the field, and its value before and after (never a secret)."""

    resource: str
    field: str
    before: t.Any
    after: t.Any

    def as_dict(self) -> dict[str, t.Any]:
        return dict(self._asdict())

    def shown(self) -> tuple[t.Any, t.Any]:
        """The values before and after as a person sees them in a diff."""
        return self.before, self.after

    def __str__(self) -> str:
        before, after = ("…" if isinstance(value, str) and "\n" in value else json.dumps(value, sort_keys=True) for value in (self.before, self.after))
        return f"{self.resource} {self.field}: {before} -> {after}"


class Resource:
    """Base of all resources. C(desired) is the plan's entry; C(desired['state'] == 'absent') wants it gone."""

    kind = "resource"

    def __init__(self, desired: dict[str, t.Any]) -> None:
        self.desired = desired

    @property
    def name(self) -> str:
        return self.desired["name"]

    @property
    def absent(self) -> bool:
        return self.desired.get("state") == "absent"

    def read(self) -> dict[str, t.Any]:
        """The live state; an empty dict when the resource does not exist."""
        raise NotImplementedError

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        """What C(apply) would change. Pure."""
        raise NotImplementedError

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        """Make the desired state true."""
        raise NotImplementedError

    def changes(self) -> list[Change]:
        return self.diff(self.read())

    def change(self, field: str, before: t.Any, after: t.Any) -> Change:
        return Change(f"{self.kind}/{self.name}", field, before, after)

    def compare(self, before: dict[str, t.Any], after: dict[str, t.Any]) -> list[Change]:
        """One change for every key of C(after) whose value differs in C(before)."""
        return [self.change(key, before.get(key), value) for key, value in after.items() if before.get(key) != value]


def ansible_diff(changes: list[Change]) -> dict[str, str]:
    """The C(diff) return value of a module: what each changed field was and will be, texts of several lines as they are."""

    def text_of(value: t.Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        several = text.rstrip("\n").splitlines()
        return several[0] if len(several) == 1 else "".join(f"\n  {line}" for line in several)

    def lines(side: int) -> str:
        values = ((change, change.shown()[side]) for change in changes)
        return "".join(f"{change.resource} {change.field}: {text_of(value)}\n" for change, value in values if value not in (None, "", [], {}))

    return {"before": lines(0), "after": lines(1)}
