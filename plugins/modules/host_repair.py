#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_repair
short_description: Faults of a host that preflight finds, repaired
version_added: 0.1.0
description:
  - Makes a swap file where memory and swap are less than a host needs, lets sandboxes through the firewall, has the clock kept right.
  - Nothing is changed where nothing is amiss. What was made can be taken away again with O(repairs[].state=absent), but for the clock, which stays right.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  repairs:
    description: The repairs, in the order they are to be made in.
    type: list
    elements: dict
    required: true
    suboptions:
      kind:
        description: What is repaired.
        type: str
        choices: [swap, firewall, clock]
        required: true
      name:
        description: The swap file, or the name of the gateway whose sandboxes are let through; only a name for a clock.
        type: str
        required: true
      state:
        description: Whether the repair is made or taken back.
        type: str
        choices: [present, absent]
        default: present
      size_mb: {description: Size of the swap file in MiB., type: int}
      least_mb: {description: "Memory and other swap, in MiB, with which no swap file is needed.", type: int}
      subnet: {description: Subnet of the sandboxes' network as CIDR., type: str}
      address: {description: The host's address on that network., type: str}
      ports:
        description: TCP ports of the host that sandboxes must reach.
        type: list
        elements: int
"""

EXAMPLES = r"""
- name: Enough swap
  nemoclaw.fleet.host_repair:
    repairs:
      - {kind: swap, name: /swapfile-nemoclaw, size_mb: 8192, least_mb: 12000}

- name: Sandboxes reach the gateway
  nemoclaw.fleet.host_repair:
    repairs:
      - {kind: firewall, name: nemoclaw, subnet: 172.30.200.0/24, address: 172.30.200.1, ports: [8080]}
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: firewall/nemoclaw, field: port 8080, before: dropped, after: accepted}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.repairs import KINDS, resources

REPAIR = {
    "kind": {"type": "str", "required": True, "choices": list(KINDS)},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "size_mb": {"type": "int"},
    "least_mb": {"type": "int"},
    "subnet": {"type": "str"},
    "address": {"type": "str"},
    "ports": {"type": "list", "elements": "int"},
}
NEEDED = [("kind", "swap", ("size_mb", "least_mb")), ("kind", "firewall", ("subnet", "address", "ports"))]


def main() -> None:
    module = AnsibleModule(
        {"repairs": {"type": "list", "elements": "dict", "required": True, "options": REPAIR, "required_if": NEEDED}}, supports_check_mode=True
    )
    converge(module, resources(module.params["repairs"]))


if __name__ == "__main__":
    main()
