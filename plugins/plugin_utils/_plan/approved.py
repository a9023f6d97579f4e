# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans that were written, read and approved by a person, against the plan that would be applied now."""

from __future__ import annotations

import json
import pathlib
import typing as t

if t.TYPE_CHECKING:
    Plan = dict[str, t.Any]
SHOWN = 8  # differences in a message; the rest is counted


class NotApproved(Exception):
    """What would be applied is not what was approved."""


def file_name(plan: Plan) -> str:
    """C(HOST-DIGEST.json), with the first twelve digits of the plan's digest."""
    return f"{plan['host']}-{plan['digest'][:12]}.json"


def check(directory: pathlib.Path, plan: Plan) -> None:
    """Raise NotApproved unless the directory holds this very plan of its host."""
    if (directory / file_name(plan)).is_file():
        return
    kept = sorted(directory.glob(f"{plan['host']}-????????????.json"), key=lambda path: path.stat().st_mtime)
    remedy = f"Write it anew (playbook plan.yml with nemoclaw_plan_dir={directory}) and read it, or take the change back. Nothing was changed."
    if not kept:
        raise NotApproved(f"nemoclaw_plan_dir: {directory} holds no plan of {plan['host']}. {remedy}")
    approved = json.loads(kept[-1].read_text(encoding="utf-8"))
    differences = list(differing(approved, plan))
    listing = "".join(f"\n  - {path}: {_short(before)} -> {_short(after)}" for path, before, after in differences[:SHOWN])
    more = f"\n  - and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    raise NotApproved(f"nemoclaw_plan_dir: since {kept[-1].name} was written {_moved(approved, plan)} changed. {remedy}{listing}{more}")


def _moved(approved: Plan, plan: Plan) -> str:
    """Which of a plan's three inputs are others now; the facts are what remains."""
    moved = [name for name, key in (("the variables", "variables"), ("the blueprint", "blueprint")) if approved.get(key) != plan[key]]
    return " and ".join(moved or ["the host"]) + (" has" if moved != ["the variables"] and len(moved) < 2 else " have")


def differing(before: t.Any, after: t.Any, path: str = "") -> t.Iterator[tuple[str, t.Any, t.Any]]:
    """The leaves in which two plans differ, as (path, before, after); None where one has no such leaf. What only says which plan it is counts not."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(set(before) | set(after)):
            if path or key not in ("digest", "variables"):
                yield from differing(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after)):
            yield from differing(*pair, f"{path}[{index}]")
    elif before != after:
        yield path, before, after


def _short(value: t.Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
