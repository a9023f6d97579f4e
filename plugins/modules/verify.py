#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: Agents answer, from inside their sandboxes
version_added: 0.1.0
description:
  - Asks the agent of each sandbox of a plan for an answer, in the sandbox, under its policy and through its inference route, and returns the answers.
  - Fails when one does not answer.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
attributes:
  check_mode:
    support: full
    details: [Nobody is asked in check mode.]
  diff_mode: {support: none}
  idempotent: {support: full}
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
options:
  plan:
    description: The plan, as M(nemoclaw.fleet.plan) made it.
    type: dict
    required: true
  names:
    description: Sandboxes to ask. All of the plan when it is not given.
    type: list
    elements: str
  settle:
    description: Seconds to wait first, for a changed route or key to reach running sandboxes.
    type: float
    default: 0
"""

EXAMPLES = r"""
- name: All agents answer
  nemoclaw.fleet.verify:
    plan: "{{ planned.plan }}"
"""

RETURN = r"""
ok:
  description: Whether all answered.
  returned: always
  type: bool
  sample: true
sandboxes:
  description: What came back, by sandbox; C(seconds) is the time of the turn.
  returned: always
  type: dict
  sample: {assistant: {ok: true, answer: Hello., error: "", seconds: 4.2}}
"""
