#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: run_history
short_description: The runs that changed a host
version_added: 0.1.0
description:
  - Keeps the plan of each run that changes a host, and what came of it, in the home of the gateway's owner. No secret is part of either.
  - A run that did not end well has no result; it is not one that can be gone back to.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  idempotent:
    support: partial
    details: Every run is kept as one of its own.
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
options:
  directory:
    description: Directory of the runs.
    type: path
    required: true
  owner:
    description: User that the files belong to.
    type: str
    required: true
  plan:
    description: The plan of a run that begins or, with O(result), has ended well. Without it the runs are only read.
    type: dict
  changes:
    description: What the run is going to change.
    type: list
    elements: str
    default: []
  result:
    description: What came of the run.
    type: dict
  run:
    description: The id of the run that has ended, as RV(run) of its beginning. Empty when its beginning was not kept.
    type: str
    default: ""
  keep:
    description: How many runs are kept. The one that a rollback goes back to is kept in any case.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: What was applied before
  nemoclaw.fleet.run_history:
    directory: /home/nemoclaw/.nemoclaw/runs
    owner: nemoclaw
  register: history
"""

RETURN = r"""
run:
  description: The id of the run that began or ended.
  returned: when O(plan) is given, outside check mode
  type: str
  sample: 20261121T091500Z-9f86d081884c
runs:
  description: All runs, the oldest first. Times are UTC.
  returned: always
  type: list
  elements: dict
  sample:
    - id: 20261121T091500Z-9f86d081884c
      digest: 9f86d081884c7d65
      blueprint: 0.1.0
      ok: true
      began: "2026-11-21T09:15:00Z"
      ended: "2026-11-21T09:16:41Z"
      seconds: 101
applied:
  description: The plan that was applied last; empty when there was none.
  returned: when O(plan) is not given
  type: dict
before:
  description: The plan that was applied before that, and was another one; empty when there was none.
  returned: when O(plan) is not given
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.runs import Runs


def main() -> None:
    module = AnsibleModule(
        {
            "directory": {"type": "path", "required": True},
            "owner": {"type": "str", "required": True},
            "plan": {"type": "dict"},
            "changes": {"type": "list", "elements": "str", "default": []},
            "result": {"type": "dict"},
            "run": {"type": "str", "default": ""},
            "keep": {"type": "int", "default": 20},
        },
        required_by={"result": ("plan",)},
        supports_check_mode=True,
    )
    options = module.params
    runs = Runs(options["directory"], options["owner"])
    if not options["plan"]:
        module.exit_json(changed=False, runs=runs.all(), applied=runs.applied(), before=runs.before())
    if module.check_mode:
        module.exit_json(changed=True, runs=runs.all())
    run = options["run"] or runs.begin(options["plan"], options["changes"])
    if options["result"] is not None:
        runs.end(run, options["plan"], options["result"], options["keep"])
    module.exit_json(changed=True, run=run, runs=runs.all())


if __name__ == "__main__":
    main()
