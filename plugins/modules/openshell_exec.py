#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_exec
short_description: Run a command in an OpenShell sandbox
version_added: 0.1.0
description: Runs a command as the user of the sandbox, in its network and under its policy, and returns what it gave.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
attributes:
  check_mode:
    support: partial
    details: [In check mode only commands with O(read_only=true) are run.]
  diff_mode: {support: none}
  idempotent:
    support: none
    details: [A command is run every time.]
options:
  sandbox:
    description: Name of the sandbox.
    type: str
    required: true
  argv:
    description: The command and its arguments. There is no shell, unless the command is one.
    type: list
    elements: str
    required: true
  env:
    description: Environment variables of the command. They appear in process lists, so no secrets.
    type: dict
    default: {}
  stdin:
    description: Text that the command reads, 4 MiB at most. Secrets go here.
    type: str
  workdir:
    description: Directory in the sandbox to run in.
    type: str
    default: ""
  timeout:
    description: Seconds the command may take.
    type: int
    default: 60
  read_only:
    description: The command changes nothing, so it is run in check mode too, and reported as no change.
    type: bool
    default: false
  expect_rc:
    description: Exit statuses that are no failure.
    type: list
    elements: int
    default: [0]
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.openshell
"""

EXAMPLES = r"""
- name: What the sandbox sees of the models
  nemoclaw.fleet.openshell_exec:
    sandbox: assistant
    argv: [curl, -sS, https://inference.local/v1/models]
    read_only: true
"""

RETURN = r"""
rc:
  description: Exit status of the command.
  returned: when it was run
  type: int
  sample: 0
stdout:
  description: What it wrote to standard output.
  returned: when it was run
  type: str
  sample: "hello"
stderr:
  description: What it wrote to standard error.
  returned: when it was run
  type: str
  sample: ""
"""

from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import fail
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import exec as inside
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.spec import client_of, openshell_module
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError


def main() -> None:
    module = openshell_module(
        {
            "sandbox": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
            "env": {"type": "dict", "default": {}},
            "stdin": {"type": "str", "no_log": True},
            "workdir": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 60},
            "read_only": {"type": "bool", "default": False},
            "expect_rc": {"type": "list", "elements": "int", "default": [0]},
        }
    )
    given = module.params
    if module.check_mode and not given["read_only"]:
        module.exit_json(changed=True, skipped=True, msg="Not run in check mode: the command may change something (read_only is false).")
    if not given["argv"]:
        module.fail_json(msg="argv is empty: name the command to run.")
    if len(given["stdin"] or "") > inside.STDIN_LIMIT:
        module.fail_json(msg=f"stdin is larger than the {inside.STDIN_LIMIT} bytes that a gateway takes; upload a file instead.")
    try:
        output = inside.run(
            client_of(module), given["sandbox"], given["argv"], env=given["env"], stdin=given["stdin"], workdir=given["workdir"], timeout=given["timeout"]
        )
    except ResourceError as error:
        fail(module, error, rc=getattr(error, "rc", None))
    result = {"rc": output.rc, "stdout": output.stdout, "stderr": output.stderr, "changed": not given["read_only"]}
    if output.rc not in given["expect_rc"]:
        words = (output.stderr.strip() or output.stdout.strip())[-400:]
        module.fail_json(msg=f"{given['argv'][0]} in the sandbox {given['sandbox']} ended with status {output.rc}: {words}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
