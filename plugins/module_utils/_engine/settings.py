# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's daemon.json as data: what is wanted put into what is there, and taken out again. Pure functions; private to the collection.

A record is a list of C({path, ours, before}): what was put in at a path, and what was there (no C(before): nothing was).
"""

from __future__ import annotations

import json
import typing as t

# what the engine takes from its file while it runs; anything else takes a restart
RELOADABLE = frozenset(
    (
        "authorization-plugins", "debug", "default-runtime", "insecure-registries", "labels", "live-restore", "max-concurrent-downloads",
        "max-concurrent-uploads", "max-download-attempts", "registry-mirrors", "runtimes", "shutdown-timeout",
    )
)  # fmt: skip


def merge(found: t.Any, wanted: t.Any) -> t.Any:
    """Mappings key by key, lists united, of any other two values the wanted one."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {**found, **{key: merge(found[key], value) if key in found else value for key, value in wanted.items()}}
    if isinstance(found, list) and isinstance(wanted, list):
        return [*found, *(value for value in wanted if value not in found)]
    return wanted


def leaves(tree: dict[str, t.Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], t.Any]:
    """Every value that is no mapping, by its path."""
    found: dict[tuple[str, ...], t.Any] = {}
    for key, value in tree.items():
        found.update(leaves(value, (*path, key)) if isinstance(value, dict) and value else {(*path, key): value})
    return found


def recorded(found: dict[str, t.Any], wanted: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """What putting C(wanted) into C(found) changes."""
    there, record = leaves(found), []
    for path, value in leaves(wanted).items():
        before = {"before": there[path]} if path in there else {}
        if isinstance(value, list) and isinstance(before.get("before"), list):
            value = [one for one in value if one not in before["before"]]
            if not value:
                continue
        elif before.get("before") == value and before:
            continue
        record.append({"path": list(path), "ours": value, **before})
    return record


def without(found: dict[str, t.Any], record: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """C(found) with what the record put in taken out, unless somebody has changed it since."""
    result = json.loads(json.dumps(found))
    for entry in record:
        *parents, key = entry["path"]
        places = [result]
        for parent in parents:
            places.append(places[-1].get(parent) if isinstance(places[-1].get(parent), dict) else {})
        place = places[-1]
        if isinstance(entry["ours"], list) and isinstance(place.get(key), list):
            place[key] = [one for one in place[key] if one not in entry["ours"]]
            if not place[key] and "before" not in entry:
                del place[key]
        elif key in place and place[key] == entry["ours"]:
            del place[key]
            place.update({key: entry["before"]} if "before" in entry else {})
        for depth in range(len(parents), 0, -1):  # mappings that held nothing else
            if places[depth] == {} and parents[depth - 1] in places[depth - 1]:
                del places[depth - 1][parents[depth - 1]]
    return result


def settle(
    found: dict[str, t.Any], settings: dict[str, t.Any], defaults: dict[str, t.Any], record: list[dict[str, t.Any]]
) -> tuple[dict[str, t.Any], list[dict[str, t.Any]]]:
    """C((what the file is to hold, its record)).

    C(defaults) count together, and only where the user's own file has none of their keys. What an earlier run put in and nobody wants any more goes.
    """
    users = without(found, record)
    wanted = merge({} if set(defaults) & set(users) else defaults, settings)
    return _ordered_as(found, merge(users, wanted)), recorded(users, wanted)


def _ordered_as(found: t.Any, result: t.Any) -> t.Any:
    """The result, with the lists that hold the same as those found in their order: taking ours out and putting it in again is no difference."""
    if isinstance(result, dict) and isinstance(found, dict):
        return {key: _ordered_as(found.get(key), value) for key, value in result.items()}
    if isinstance(result, list) and isinstance(found, list) and len(result) == len(found) and all(value in found for value in result):
        return found
    return result


def differing(before: dict[str, t.Any], after: dict[str, t.Any]) -> dict[tuple[str, ...], tuple[t.Any, t.Any]]:
    """C({path: (before, after)}) of the values that differ."""
    old, new = leaves(before), leaves(after)
    return {path: (old.get(path), new.get(path)) for path in sorted({*old, *new}) if old.get(path) != new.get(path)}


def takes_restart(paths: t.Iterable[tuple[str, ...]]) -> bool:
    return any(path[0] not in RELOADABLE for path in paths)
