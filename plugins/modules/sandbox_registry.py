#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox_registry
short_description: A sandbox in NemoClaw's own list
version_added: 0.1.0
description:
  - Keeps the entry of a sandbox in C(~/.nemoclaw/sandboxes.json), so that NemoClaw's own tools see it.
  - Entries that this collection did not make are never changed. A file that holds no other one is removed with the last of ours.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
options:
  path:
    description: The file.
    type: path
    required: true
  owner:
    description: User that the file belongs to.
    type: str
    required: true
  gateway:
    description: Name of the sandbox's gateway.
    type: str
    default: nemoclaw
  name:
    description: Name of the sandbox. Needed unless O(state=absent), which without it means all sandboxes of the gateway.
    type: str
  entry:
    description: The rest of the entry, by NemoClaw's names. Needed unless O(state=absent).
    type: dict
  state:
    description: Whether the entry exists.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
"""

EXAMPLES = r"""
- name: NemoClaw knows the assistant
  nemoclaw.fleet.sandbox_registry:
    path: /home/nemoclaw/.nemoclaw/sandboxes.json
    owner: nemoclaw
    name: assistant
    entry: {agent: openclaw, model: my-model, dashboardPort: 18789}
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: registry/assistant, field: model, before: small, after: large}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.registry import Registry


def main() -> None:
    module = AnsibleModule(
        {
            "path": {"type": "path", "required": True},
            "owner": {"type": "str", "required": True},
            "gateway": {"type": "str", "default": "nemoclaw"},
            "name": {"type": "str"},
            "entry": {"type": "dict"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("name", "entry"))],
        supports_check_mode=True,
    )
    converge(module, [Registry(dict(module.params))])


if __name__ == "__main__":
    main()
