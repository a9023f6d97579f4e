# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One thing that is wrong with a policy."""

from __future__ import annotations

import typing as t

Path = tuple[t.Union[str, int], ...]


class Fault(t.NamedTuple):
    """Where in the policy, what is wrong, what to do."""

    path: Path
    problem: str
    remedy: str
