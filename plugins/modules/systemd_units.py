#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_units
short_description: systemd system units with their contents, enabled and running
version_added: 0.1.0
description:
  - Writes unit files under C(/etc/systemd/system), enables them and keeps them running with what is on disk.
  - When a unit sets C(NEMOCLAW_CONFIG_DIGEST) in its environment, the running process must have been started with that value. So a run that was interrupted
    between writing and restarting is found and finished, which handlers cannot do.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  units:
    description: The units, in the order they are to be handled in.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the unit with its suffix.
        type: str
        required: true
      content:
        description: The unit file. Needed unless O(units[].state=absent).
        type: str
      state:
        description: Whether the unit exists and runs, or is stopped and removed.
        type: str
        choices: [present, absent]
        default: present
"""

EXAMPLES = r"""
- name: The gateway runs
  nemoclaw.fleet.systemd_units:
    units:
      - name: nemoclaw-gateway.service
        content: "{{ lookup('ansible.builtin.template', 'nemoclaw-gateway.service.j2') }}"
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: unit/nemoclaw-gateway.service, field: active, before: false, after: true}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import Unit

UNIT = {
    "name": {"type": "str", "required": True},
    "content": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(
        {"units": {"type": "list", "elements": "dict", "required": True, "options": UNIT, "required_if": [("state", "present", ("content",))]}},
        supports_check_mode=True,
    )
    converge(module, [Unit(unit) for unit in module.params["units"]])


if __name__ == "__main__":
    main()
