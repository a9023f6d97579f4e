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
  - Registers a running gateway with the command line of its owner, with the gateway's current client certificate, and waits until it answers.
  - The gateway itself is a systemd unit; the role P(nemoclaw.fleet.gateway#role) makes it.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
  idempotent: {support: full}
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


def main() -> None:
    module = openshell_module(
        {
            "endpoint": {"type": "str"},
            "tls_dir": {"type": "path"},
            "versions": {"type": "dict", "options": {"minimum": {"type": "str", "required": True}, "below": {"type": "str", "required": True}}},
            "timeout": {"type": "int", "default": 60},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("endpoint", "tls_dir"))],
    )
    desired = desired_of(module, "endpoint", "tls_dir", "versions", "timeout", "state", name=module.params["gateway"])
    converge(module, [Gateway(desired, client_of(module))])


if __name__ == "__main__":
    main()
