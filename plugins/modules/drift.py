#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: drift
short_description: The live state of a host against its plan
version_added: 0.1.0
description:
  - Compares every resource of a plan with what is there, in one call, and says what differs, by component, with the value before and after.
  - Changes nothing. In check mode it reports a change where applying the plan would make one, so that a run with C(--check --diff) shows all of them.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  plan:
    description: The plan, as M(nemoclaw.fleet.plan) made it.
    type: dict
    required: true
  credentials:
    description: Values of the credentials that the plan names. They are compared by a keyed fingerprint kept on the host.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: What differs
  nemoclaw.fleet.drift:
    plan: "{{ planned.plan }}"
    credentials: "{{ nemoclaw_credentials }}"
  register: found
"""

RETURN = r"""
pending:
  description: The components that differ.
  returned: always
  type: dict
  sample: {host: false, engine: false, gateway: false, serving: [], proxy: false, inference: true, sandboxes: [assistant], leftovers: []}
changes:
  description: What differs, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{component: inference, resource: route/inference.local, field: model, before: small, after: large}]
refused:
  description: Those of the changes that take a rebuild of a sandbox.
  returned: always
  type: list
  elements: dict
  sample: []
differences:
  description: The same for people, a line each; texts of several lines are left out.
  returned: always
  type: list
  elements: str
  sample: ['route/inference.local model: "small" -> "large"']
applied:
  description: The digest of the plan that was applied last; empty when there was none. Where it is this plan's, somebody else has changed what differs.
  returned: always
  type: str
  sample: 9f86d081884c7d65
planned:
  description: In what the plan differs from the one that was applied last, a line each. Empty when there was none.
  returned: always
  type: list
  elements: str
  sample: ['inference.route.model: "small" -> "large"']
unknown:
  description: Resources that could not be read, because their gateway does not answer.
  returned: always
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._drift import drift
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import fail
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.plan_changes import plan_changes
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.runs import Runs
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError, ansible_diff


def main() -> None:
    module = AnsibleModule(
        {"plan": {"type": "dict", "required": True}, "credentials": {"type": "dict", "default": {}, "no_log": True}}, supports_check_mode=True
    )
    plan = module.params["plan"]
    client = OpenShell(plan["owner"]["name"], plan["gateway"]["name"], plan["gateway"]["bin_dir"])
    try:
        found = drift(plan, client, module.params["credentials"])
    except ResourceError as error:
        fail(module, error)
    applied = Runs(f"{plan['owner']['state_dir']}/runs").applied()
    changes = [change for component in found.changes.values() for change in component]
    module.exit_json(
        changed=bool(changes) and module.check_mode,
        pending=found.pending,
        changes=[{"component": component, **change.as_dict()} for component, several in found.changes.items() for change in several],
        refused=[change.as_dict() for change in found.refused],
        unknown=found.unknown,
        applied=applied.get("digest", ""),
        planned=plan_changes(applied, plan) if applied else [],
        differences=[str(change) for change in changes] + [f"{name}: cannot be read while the gateway does not answer" for name in found.unknown],
        diff=ansible_diff(changes),
    )


if __name__ == "__main__":
    main()
