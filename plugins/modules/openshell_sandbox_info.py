#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_sandbox_info
short_description: The sandboxes of an OpenShell gateway
version_added: 0.1.0
description: Lists all sandboxes of a gateway, or describes the named ones, with phase, labels and policy.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  idempotent: {support: full}
options:
  names:
    description: Sandboxes to describe with their policies. All are listed, without policies, when it is empty.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.openshell
"""

EXAMPLES = r"""
- name: All sandboxes of the gateway
  nemoclaw.fleet.openshell_sandbox_info:
  register: found
"""

RETURN = r"""
sandboxes:
  description: The sandboxes, as the gateway describes them. Those that do not exist are left out.
  returned: always
  type: list
  elements: dict
  sample: [{name: assistant, phase: Ready, labels: {}, created_at: "2026-11-21 10:00:00", current_policy_version: 1}]
"""

from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import fail
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.spec import client_of, openshell_module
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

PAGE = 1000  # the gateway's own limit


def main() -> None:
    module = openshell_module({"names": {"type": "list", "elements": "str", "default": []}})
    client = client_of(module)
    try:
        if module.params["names"]:
            sandboxes = [client.find("sandbox", "get", name) for name in module.params["names"]]
        else:
            sandboxes = client.json("sandbox", "list", "--limit", str(PAGE))
    except ResourceError as error:
        fail(module, error)
    module.exit_json(changed=False, sandboxes=[sandbox for sandbox in sandboxes if sandbox])


if __name__ == "__main__":
    main()
