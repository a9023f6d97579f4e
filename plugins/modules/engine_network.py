#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: engine_network
short_description: A bridge network of the Docker engine with a known subnet
version_added: 0.1.0
description:
  - Makes a bridge network with the given subnet and labels, so that the addresses of a gateway and its sandboxes are known beforehand.
  - A network with another subnet is replaced when no container uses it.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
requirements:
  - docker, the Python SDK (C(python3-docker))
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  name:
    description: Name of the network.
    type: str
    required: true
  subnet:
    description: Subnet in CIDR form. The first address is the host's. Needed unless O(state=absent).
    type: str
  labels:
    description: Labels of the network, set when it is made.
    type: dict
    default: {}
  state:
    description: Whether the network exists.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: The network of the sandboxes
  nemoclaw.fleet.engine_network:
    name: nemoclaw
    subnet: 172.30.200.0/24
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: network/nemoclaw, field: subnet, before: null, after: 172.30.200.0/24}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.network import Network
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge


def main() -> None:
    module = AnsibleModule(
        {
            "name": {"type": "str", "required": True},
            "subnet": {"type": "str"},
            "labels": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("subnet",))],
        supports_check_mode=True,
    )
    converge(module, [Network(module.params)])


if __name__ == "__main__":
    main()
