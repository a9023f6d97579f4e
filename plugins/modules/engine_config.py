#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: engine_config
short_description: The Docker engine runs, with these settings in its daemon.json
version_added: 0.1.0
description:
  - Puts settings into C(/etc/docker/daemon.json) beside what is there. Unknown keys stay, lists are united, of two values for one key the given one counts.
  - What it put in is remembered in C(/var/lib/nemoclaw/engine.json). A setting that is no longer given goes, and what it replaced comes back.
  - The engine judges the new file before it replaces the old one (Docker 23.0 and later). When it does not start with it, the old file comes back.
  - The engine is reloaded where that is enough, and restarted only where it must be. The containers that run are then named, in check mode too, and what
    goes and comes with the engine (the units that are C(PartOf=docker.service)) is waited for.
  - A restart that an interrupted run, or M(nemoclaw.fleet.cdi_spec), still owes is made.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  settings:
    description: Settings by their names in daemon.json.
    type: dict
    default: {}
  defaults:
    description: Settings of an engine that has neither a daemon.json nor images, containers and volumes yet. They are put in together or not at all.
    type: dict
    default: {}
  allow_data_root_change:
    description: Whether C(data-root) may change while images, containers or volumes lie in the present one and none in the new one. Nothing is deleted.
    type: bool
    default: false
  state:
    description: V(absent) takes out what V(present) put in; the engine stays.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Images come from the mirror, logs are bounded
  nemoclaw.fleet.engine_config:
    settings:
      registry-mirrors: ["https://mirror.example.org"]
      log-driver: json-file
      log-opts: {max-size: 10m, max-file: "3"}
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample:
    - {resource: engine/docker, field: features.cdi, before: null, after: true}
    - {resource: engine/docker, field: running containers, before: "model, web", after: restarted with the engine}
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.daemon import Engine
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge


def main() -> None:
    module = AnsibleModule(
        {
            "settings": {"type": "dict", "default": {}},
            "defaults": {"type": "dict", "default": {}},
            "allow_data_root_change": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    converge(module, [Engine({"name": "docker", **module.params})])


if __name__ == "__main__":
    main()
