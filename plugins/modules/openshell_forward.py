#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_forward
short_description: A port of the host that leads into an OpenShell sandbox
version_added: 0.1.0
description:
  - Keeps a port of the host forwarded to a port in a sandbox by a systemd unit, so that it is back after a reboot.
  - Waits until the service behind it answers.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
options:
  sandbox:
    description: Name of the sandbox.
    type: str
    required: true
  port:
    description: Port on the host.
    type: int
    required: true
  target_port:
    description: Port in the sandbox; the same as O(port) when not given.
    type: int
  bind:
    description: Address on the host that the port is opened on.
    type: str
    default: 127.0.0.1
  directives:
    description: Lines of the unit's C([Service]) section that harden it.
    type: str
    default: "NoNewPrivileges=yes\n"
  ready:
    description: Path that must answer an HTTP request through the port with status 200 before the module returns.
    type: str
  timeout:
    description: Seconds to wait for O(ready).
    type: int
    default: 90
  state:
    description: Whether the port is forwarded.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
  - nemoclaw.fleet.openshell
"""

EXAMPLES = r"""
- name: The dashboard of the assistant is on port 18789 of the host's loopback
  nemoclaw.fleet.openshell_forward:
    sandbox: assistant
    port: 18789
    ready: /readyz
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: forward/assistant-18789, field: active, before: false, after: true}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.forward import DIRECTIVES, Forward
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.spec import desired_of, openshell_module


def main() -> None:
    module = openshell_module(
        {
            "sandbox": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "target_port": {"type": "int"},
            "bind": {"type": "str", "default": "127.0.0.1"},
            "directives": {"type": "str", "default": DIRECTIVES},
            "ready": {"type": "str"},
            "timeout": {"type": "int", "default": 90},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        }
    )
    names = ("sandbox", "port", "target_port", "bind", "directives", "ready", "timeout", "state", "owner", "gateway", "bin_dir")
    forward = Forward(desired_of(module, *names))

    def ready() -> dict[str, object]:
        if not forward.absent:
            forward.await_ready()
        return {}

    converge(module, [forward], ready)


if __name__ == "__main__":
    main()
