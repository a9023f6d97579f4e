#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_certificates
short_description: The certificates and keys of an OpenShell gateway
version_added: 0.1.0
description:
  - Makes them with C(openshell-gateway generate-certs) where there are none, where they are broken or do not belong together, and before they run out.
  - A new set is made beside the old one and takes its place; then the gateway is restarted. The key of the sandboxes' tokens is kept, so sandboxes live on.
  - Users with whom the gateway is registered need the new client certificate; M(nemoclaw.fleet.openshell_gateway) gives it to them.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
options:
  path:
    description: Directory of the certificates, in one of the owner's.
    type: path
    required: true
  owner:
    description: User that owns the gateway.
    type: str
    default: nemoclaw
  bin_dir:
    description: Directory of OpenShell's programs on the host.
    type: path
    default: /usr/local/bin
  server_name:
    description: Name that the gateway has inside sandboxes.
    type: str
    default: host.openshell.internal
  days:
    description: Days that the certificates must still be good for.
    type: int
    default: 30
  unit:
    description: The gateway's systemd unit.
    type: str
    default: nemoclaw-gateway.service
  tokens:
    description: Directory of the gateway with an entry for each sandbox. With some there, a lost key of their tokens is an error, not replaced.
    type: path
    required: true
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
"""

EXAMPLES = r"""
- name: Certificates
  nemoclaw.fleet.openshell_certificates:
    path: /home/nemoclaw/.nemoclaw/gateway/tls
    tokens: /home/nemoclaw/.nemoclaw/gateway/state/openshell/docker-sandbox-tokens/nemoclaw
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: certificates//home/nemoclaw/.nemoclaw/gateway/tls, field: expires, before: "2026-12-01", after: renewed}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.certificates import Certificates
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import BIN_DIR


def main() -> None:
    module = AnsibleModule(
        {
            "path": {"type": "path", "required": True},
            "owner": {"type": "str", "default": "nemoclaw"},
            "bin_dir": {"type": "path", "default": BIN_DIR},
            "server_name": {"type": "str", "default": "host.openshell.internal"},
            "days": {"type": "int", "default": 30},
            "unit": {"type": "str", "default": "nemoclaw-gateway.service"},
            "tokens": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    converge(module, [Certificates(dict(module.params))])


if __name__ == "__main__":
    main()
