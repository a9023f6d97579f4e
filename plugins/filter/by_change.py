# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: by_change
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
version_added: 0.1.0
short_description: What would change on a fleet, each change once with its hosts
description: Turns the differences of each host into the changes of all of them. What most hosts have in common comes first.
positional: _input
options:
  _input:
    description: The differences of each host, by its name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: What would change
  ansible.builtin.debug:
    msg: "{{ {'h1': ['route/inference.local model: a -> b'], 'h2': ['route/inference.local model: a -> b']} | nemoclaw.fleet.by_change }}"
    # ["2 hosts (h1, h2): route/inference.local model: a -> b"]
"""

RETURN = r"""
_value:
  description: A line for each change.
  type: list
  elements: str
"""


def by_change(differences: dict[str, list[str]]) -> list[str]:
    """C({host: [change]}) -> C(["2 hosts (h1, h2): change"]), the most common ones first, then as the first host has them."""
    if not isinstance(differences, dict):
        raise AnsibleFilterError(f"by_change takes the differences of each host by its name, not {type(differences).__name__}.")
    hosts: dict[str, list[str]] = {}
    for host, changes in differences.items():
        for change in dict.fromkeys(changes):
            hosts.setdefault(str(change), []).append(host)
    ordered = sorted(hosts.items(), key=lambda item: -len(item[1]))
    return [f"{len(names)} host{'' if len(names) == 1 else 's'} ({', '.join(names)}): {change}" for change, names in ordered]


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"by_change": by_change}
