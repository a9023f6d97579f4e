#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_sandbox
short_description: A sandbox of an OpenShell gateway
version_added: 0.1.0
description:
  - Makes a sandbox from an image and keeps it Ready, with the given files in it.
  - What is fixed at creation (image, limits, GPUs, mounts) is remembered in a label. When it changes, the sandbox must be rebuilt, which is refused unless
    O(rebuild=true).
  - A sandbox that is stopped is started. One in phase Error is brought back by starting its container, so its files are kept.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
options:
  name:
    description: Name of the sandbox, 19 characters at most.
    type: str
    required: true
  image:
    description: Image of the sandbox, by a name that changes with its content. It must be on the host. Needed unless O(state=absent).
    type: str
  policy:
    description: The policy that the sandbox starts with, in OpenShell's own schema. See M(nemoclaw.fleet.openshell_policy) for later changes.
    type: dict
  cpu:
    description: CPU limit, for example V(2) or V(500m).
    type: str
  memory:
    description: Memory limit, for example V(4Gi).
    type: str
  cdi_devices:
    description: GPUs by the names of their CDI devices, for example V(nvidia.com/gpu=0).
    type: list
    elements: str
  mounts:
    description: Mounts of the container, as OpenShell's Docker driver takes them.
    type: list
    elements: dict
  labels:
    description: More labels of the sandbox, set when it is made.
    type: dict
  files:
    description: Text files inside the sandbox. They can change while it runs.
    type: list
    elements: dict
    suboptions:
      path:
        description: Absolute path in the sandbox.
        type: str
        required: true
      content:
        description: The text.
        type: str
        required: true
      mode:
        description: File mode, four octal digits.
        type: str
        default: "0600"
      validate:
        description: Command that must accept the new file before it replaces the old one. C({path}) stands for the new file.
        type: list
        elements: str
      validate_env:
        description: Environment of O(files[].validate), C({path}) as there.
        type: dict
  rebuild:
    description:
      - Whether a sandbox may be made anew when it must.
      - What it has in C(/sandbox) beyond its image is kept on the host, another sandbox is tried beside it with these files, and only then takes its place.
      - Where O(unit) runs in it, it is stopped meanwhile.
    type: bool
    default: false
  unit:
    description: The systemd unit of what runs in the sandbox. It is started again in any case.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for a phase.
    type: int
    default: 300
  state:
    description: Whether the sandbox exists.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
  - nemoclaw.fleet.openshell
"""

EXAMPLES = r"""
- name: The assistant has a sandbox
  nemoclaw.fleet.openshell_sandbox:
    name: assistant
    image: nemoclaw/openclaw:0a1b2c3d4e5f6071
    policy: {version: 1, filesystem_policy: {include_workdir: true, read_only: [/usr, /lib, /etc], read_write: [/sandbox, /tmp]}}
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: sandbox/assistant, field: state, before: absent, after: present}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.containers import start_by_labels
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.sandbox import Sandbox
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.snapshot import Snapshot
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.spec import client_of, desired_of, openshell_module

FILE = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str", "required": True},
    "mode": {"type": "str", "default": "0600"},
    "validate": {"type": "list", "elements": "str"},
    "validate_env": {"type": "dict"},
}


def main() -> None:
    module = openshell_module(
        {
            "name": {"type": "str", "required": True},
            "image": {"type": "str"},
            "policy": {"type": "dict"},
            "cpu": {"type": "str"},
            "memory": {"type": "str"},
            "cdi_devices": {"type": "list", "elements": "str"},
            "mounts": {"type": "list", "elements": "dict"},
            "labels": {"type": "dict"},
            "files": {"type": "list", "elements": "dict", "options": FILE},
            "rebuild": {"type": "bool", "default": False},
            "unit": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 300},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("image", "policy"))],
    )
    names = ("name", "image", "policy", "cpu", "memory", "cdi_devices", "mounts", "labels", "files", "rebuild", "unit", "timeout", "state")
    client = client_of(module)
    snapshot = Snapshot(client, module.params["name"])
    converge(module, [Sandbox(desired_of(module, *names), client, start_by_labels, snapshot)])


if __name__ == "__main__":
    main()
