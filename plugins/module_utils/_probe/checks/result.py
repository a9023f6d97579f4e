# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check returns. Private to the collection."""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:  # Python 3.8 could not evaluate them, and is to be told so by a check
    Facts = dict[str, t.Any]
    Results = list[dict[str, t.Any]]


def result(name: str, ok: bool, severity: str, detail: str, remedy: str = "") -> Results:
    """One result; the remedy is kept only where it is needed."""
    return [{"name": name, "ok": ok, "severity": severity, "detail": detail, "remedy": "" if ok else remedy}]


def enough(name: str, found: float, least: float, recommended: float, unit: str, remedy: str) -> Results:
    """Less than the least is a warning, less than what is recommended is worth telling."""
    if found < least:
        return result(name, False, "warning", f"{found} {unit}, {least} are the minimum", remedy)
    return result(name, found >= recommended, "info", f"{found} {unit}" + (f", {recommended} are recommended" if found < recommended else ""), remedy)


def version(text: str) -> tuple[int, ...]:
    """C("20.10.24+dfsg1") -> (20, 10, 24): the leading numbers, to compare."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def slug(path: str) -> str:
    """A path as the end of a check's name."""
    return path.strip("/").replace("/", "_") or "root"
