#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: cdi_spec
short_description: The GPUs of a host as CDI devices
version_added: 0.1.0
description:
  - Has the NVIDIA Container Toolkit make the CDI specification, so that containers can ask for every GPU or MIG device that C(nvidia-smi) lists by a name.
  - It is made anew when a device is missing, or when driver or GPUs are no longer those it was made from.
  - Where the toolkit has units that keep it current (C(nvidia-cdi-refresh)), they are enabled and asked for it.
  - The engine must be restarted afterwards. M(nemoclaw.fleet.engine_config) does so; it is remembered until then.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  path:
    description: The specification, where no unit makes one.
    type: path
    default: /etc/cdi/nvidia.yaml
"""

EXAMPLES = r"""
- name: GPUs have names
  nemoclaw.fleet.cdi_spec:

- name: The engine knows them
  nemoclaw.fleet.engine_config:
    settings: {features: {cdi: true}}
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: cdi/nvidia.com/gpu, field: devices, before: [], after: ["0", "1"]}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia.cdi_spec import CdiSpec


def main() -> None:
    module = AnsibleModule({"path": {"type": "path", "default": "/etc/cdi/nvidia.yaml"}}, supports_check_mode=True)
    converge(module, [CdiSpec({"name": "nvidia.com/gpu", **module.params})])


if __name__ == "__main__":
    main()
