#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_policy
short_description: The policy of a running OpenShell sandbox
version_added: 0.1.0
description:
  - Compares the policy of a sandbox by meaning with the given one and sets it when something differs. Order, defaults and paths that the supervisor added
    are no difference.
  - Network rules and additional paths change while the sandbox runs. C(landlock), C(process) and the removal of a path take a rebuild, and are refused.
  - Says before a change, in check mode too, what opens and what closes - which program may send which request where.
  - A policy that the sandbox cannot load is an error that names the reason, and the one before is put back; one that it does not load in time is another error.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
options:
  sandbox:
    description: Name of the sandbox.
    type: str
    required: true
  policy:
    description: The whole policy, in OpenShell's own schema.
    type: dict
    required: true
  timeout:
    description: Seconds to wait until the sandbox has loaded the policy.
    type: int
    default: 120
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
  - nemoclaw.fleet.openshell
"""

EXAMPLES = r"""
- name: The sandbox may read one API
  nemoclaw.fleet.openshell_policy:
    sandbox: assistant
    policy:
      version: 1
      filesystem_policy: {include_workdir: true, read_only: [/usr, /lib, /etc, /proc], read_write: [/sandbox, /tmp]}
      landlock: {compatibility: best_effort}
      process: {run_as_user: sandbox, run_as_group: sandbox}
      network_policies:
        api:
          endpoints: [{host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: read-only}]
          binaries: [{path: /usr/bin/curl}]
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample:
    - resource: policy/assistant
      field: network_policies.api
      before: null
      after: {endpoints: [{host: api.example.com, ports: [443], protocol: rest, enforcement: enforce, access: read-only}], binaries: [/usr/bin/curl]}
      opens: [{endpoint: "api.example.com:443", method: GET, path: "/**", binary: /usr/bin/curl}]
      closes: []
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
    opens: {description: "Of a network rule, what was not possible before, as C(endpoint), C(method), C(path) and C(binary).", type: list, elements: dict}
    closes: {description: "Of a network rule, what will not be possible any more, in the same form.", type: list, elements: dict}
"""

from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.policy import Policy
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.spec import client_of, desired_of, openshell_module


def main() -> None:
    module = openshell_module(
        {
            "sandbox": {"type": "str", "required": True},
            "policy": {"type": "dict", "required": True},
            "timeout": {"type": "int", "default": 120},
        }
    )
    converge(module, [Policy(desired_of(module, "sandbox", "policy", "timeout"), client_of(module))])


if __name__ == "__main__":
    main()
