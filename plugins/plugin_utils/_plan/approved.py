# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans that were written, read and approved by a person, against the plan that would be applied now."""

from __future__ import annotations

import json
import pathlib
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.plan_changes import plan_changes

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
    differences = plan_changes(approved, plan)
    listing = "".join(f"\n  - {change}" for change in differences[:SHOWN])
    more = f"\n  - and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    raise NotApproved(f"nemoclaw_plan_dir: since {kept[-1].name} was written {_moved(approved, plan)} changed. {remedy}{listing}{more}")


def _moved(approved: Plan, plan: Plan) -> str:
    """Which of a plan's three inputs are others now; the facts are what remains."""
    moved = [name for name, key in (("the variables", "variables"), ("the blueprint", "blueprint")) if approved.get(key) != plan[key]]
    return " and ".join(moved or ["the host"]) + (" has" if moved != ["the variables"] and len(moved) < 2 else " have")
