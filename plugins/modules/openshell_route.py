#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_route
short_description: The inference route of an OpenShell gateway
version_added: 0.1.0
description:
  - Sets what C(https://inference.local) leads to in all sandboxes of a gateway. A gateway has one route.
  - The gateway's own verification is not used, because it runs where C(host.openshell.internal) does not resolve; see M(nemoclaw.fleet.endpoint_probe).
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
options:
  provider:
    description: Name of the provider. It must exist.
    type: str
  model:
    description: Model that every request is rewritten to.
    type: str
  timeout:
    description: Seconds a request may take. V(0) is the gateway's own default of 60.
    type: int
    default: 180
  state:
    description: Whether the route is configured.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
  - nemoclaw.fleet.openshell
"""

EXAMPLES = r"""
- name: Sandboxes use the local server
  nemoclaw.fleet.openshell_route:
    provider: compatible-endpoint
    model: meta-llama/Llama-3.1-8B-Instruct
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: route/inference.local, field: model, before: small, after: large}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.route import Route
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.spec import client_of, desired_of, openshell_module


def main() -> None:
    module = openshell_module(
        {
            "provider": {"type": "str"},
            "model": {"type": "str"},
            "timeout": {"type": "int", "default": 180},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("provider", "model"))],
    )
    converge(module, [Route(desired_of(module, "provider", "model", "timeout", "state"), client_of(module))])


if __name__ == "__main__":
    main()
