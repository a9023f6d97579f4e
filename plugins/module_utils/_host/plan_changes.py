# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""In what two plans of a host differ, for people. Pure functions; private to the collection."""

from __future__ import annotations

import json
import typing as t

LONGEST = 60  # characters of a value


def plan_changes(before: dict[str, t.Any], after: dict[str, t.Any]) -> list[str]:
    """A line for each leaf, as C(gateway.endpoint, "a" -> "b"). What only says which plan it is counts not."""
    return [f"{path}: {' -> '.join(_shown(old, new))}" for path, old, new in _differing(before, after)]


def _differing(before: t.Any, after: t.Any, path: str = "") -> t.Iterator[tuple[str, t.Any, t.Any]]:
    """(path, before, after); None where one has no such leaf. Things with names are the same thing when they have the same one."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(set(before) | set(after)):
            if path or key not in ("digest", "variables"):
                yield from _differing(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list) and (named := [_named(before), _named(after)])[0] is not None and named[1] is not None:
        for name in dict.fromkeys([*named[0], *named[1]]):
            yield from _differing(named[0].get(name), named[1].get(name), f"{path}[{name}]")
    elif before != after:
        yield path, before, after


def _named(things: list[t.Any]) -> dict[str, t.Any] | None:
    """The things by name or path; None where they have none."""
    found = {thing.get("name") or thing.get("path"): thing for thing in things if isinstance(thing, dict)}
    return found if len(found) == len(things) and None not in found else None


def _shown(before: t.Any, after: t.Any) -> tuple[str, str]:
    """Both values, shortened; of two texts, their first lines that differ."""
    if isinstance(before, str) and isinstance(after, str) and "\n" in before + after:
        lines = (before.splitlines(), after.splitlines())
        same = next((number for number, pair in enumerate(zip(*lines)) if pair[0] != pair[1]), min(map(len, lines)))
        before, after = (side[same] if same < len(side) else "" for side in lines)
    return _short(before), _short(after)


def _short(value: t.Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}…"
