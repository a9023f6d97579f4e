#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_gateway
short_description: An OpenShell gateway registered with its owner and answering
version_added: 0.1.0
description:
  - Registers a running gateway with the command line of its owner, and of further users, with the gateway's current client certificate.
  - Waits until it answers and is ready; one that runs and is not well is restarted, once.
  - The gateway itself is a systemd unit; the role P(nemoclaw.fleet.gateway#role) makes it.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
options:
  endpoint:
    description: URL of the gateway. Needed unless O(state=absent).
    type: str
  tls_dir:
    description: The gateway's certificate directory, which holds C(ca.crt) and C(client/). Needed unless O(state=absent).
    type: path
  versions:
    description: The range of OpenShell that is accepted, as C(minimum) and C(below). Any when it is not given.
    type: dict
    suboptions:
      minimum:
        description: The oldest version.
        type: str
        required: true
      below:
        description: The first version that is too new.
        type: str
        required: true
  health_port:
    description: Port on the loopback where the gateway says whether it is ready. Not asked when it is not given.
    type: int
  users:
    description:
      - Further users of the host with whom the gateway is registered. Nobody else keeps it.
      - They can do whatever the owner can with the gateway and its sandboxes; they are not members of the group docker for it.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for the gateway to answer.
    type: int
    default: 60
  state:
    description: Whether the gateway is registered.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
  - nemoclaw.fleet.openshell
"""

EXAMPLES = r"""
- name: The gateway is registered and answers
  nemoclaw.fleet.openshell_gateway:
    gateway: nemoclaw
    endpoint: https://127.0.0.1:8080
    tls_dir: /home/nemoclaw/.nemoclaw/gateway/tls
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: gateway/nemoclaw, field: connected, before: false, after: true}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.gateway import Gateway
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.spec import client_of, desired_of, openshell_module
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.users import Users


def main() -> None:
    module = openshell_module(
        {
            "endpoint": {"type": "str"},
            "tls_dir": {"type": "path"},
            "versions": {"type": "dict", "options": {"minimum": {"type": "str", "required": True}, "below": {"type": "str", "required": True}}},
            "health_port": {"type": "int"},
            "users": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 60},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("endpoint", "tls_dir"))],
    )
    desired = desired_of(module, "endpoint", "tls_dir", "versions", "health_port", "timeout", "state", name=module.params["gateway"])
    client = client_of(module)
    users = [] if desired["state"] == "absent" else module.params["users"]
    converge(module, [Gateway(desired, client), Users({**desired, "users": users}, client)])


if __name__ == "__main__":
    main()
