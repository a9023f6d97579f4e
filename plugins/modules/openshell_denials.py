#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_denials
short_description: What sandboxes were refused
version_added: 0.1.0
description:
  - Reads the logs of the sandboxes of an OpenShell gateway, and says which requests their policies did not let through.
  - What goes past the sandbox's proxy, and what the kernel refuses (files, users, system calls), is not in these logs.
  - A gateway keeps the last lines of a sandbox only, and none over its own restart.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  idempotent: {support: full}
options:
  names:
    description: Sandboxes to read the logs of.
    type: list
    elements: str
    required: true
  since:
    description: How far back, as C(30s), C(5m) or C(1h).
    type: str
    default: 1h
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.openshell
"""

EXAMPLES = r"""
- name: What the agents were refused in the last quarter of an hour
  nemoclaw.fleet.openshell_denials:
    names: [assistant]
    since: 15m
  register: refused
"""

RETURN = r"""
sandboxes:
  description: What each sandbox was refused, by its name, the latest first.
  returned: always
  type: dict
  sample:
    assistant:
      - request: POST http://api.example.com:443/v1/items
        program: /usr/bin/curl
        policy: example
        reason: POST /v1/items not permitted by policy
        count: 3
        last: "2026-11-21T09:15:00Z"
"""

from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import fail
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.denials import denials
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.spec import client_of, openshell_module
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError


def main() -> None:
    module = openshell_module({"names": {"type": "list", "elements": "str", "required": True}, "since": {"type": "str", "default": "1h"}})
    client = client_of(module)
    try:
        found = {name: denials(client, name, module.params["since"]) for name in module.params["names"]}
    except ResourceError as error:
        fail(module, error)
    module.exit_json(changed=False, sandboxes=found)


if __name__ == "__main__":
    main()
