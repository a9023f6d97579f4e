#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_provider
short_description: A provider of an OpenShell gateway
version_added: 0.1.0
description:
  - Makes a provider with the given type, configuration and credentials.
  - The gateway never gives values back. The module keeps the configuration and a keyed fingerprint (HMAC-SHA256) of the credentials on the host, readable
    by O(owner) only, and updates the provider when they differ or when somebody else changed it.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
attributes:
  check_mode: {support: full}
  diff_mode:
    support: full
    details: [Values of credentials are never shown; that they changed is.]
  idempotent: {support: full}
options:
  name:
    description: Name of the provider.
    type: str
    required: true
  type:
    description: Type of the provider, for example V(openai), V(nvidia) or V(anthropic). A provider of another type is deleted and made anew.
    type: str
  config:
    description: Configuration, not secret; for example the base URL. Keys that are not given are removed.
    type: dict
    default: {}
  credentials:
    description: Credentials by the gateway's name of the key. They reach the gateway through the environment of the command.
    type: dict
    default: {}
  credential_files:
    description: Files on the host that hold credentials, by the gateway's name of the key; of a server whose key the host made for itself.
    type: dict
    default: {}
  state:
    description: Whether the provider exists.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.openshell
"""

EXAMPLES = r"""
- name: An OpenAI-compatible server on the host itself
  nemoclaw.fleet.openshell_provider:
    name: compatible-endpoint
    type: openai
    config: {OPENAI_BASE_URL: "http://host.openshell.internal:8000/v1"}
    credentials:
      OPENAI_API_KEY: "{{ nemoclaw_credentials.COMPATIBLE_API_KEY }}"
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: provider/compatible-endpoint, field: type, before: null, after: openai}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.provider import Provider
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.spec import client_of, desired_of, openshell_module


def main() -> None:
    module = openshell_module(
        {
            "name": {"type": "str", "required": True},
            "type": {"type": "str"},
            "config": {"type": "dict", "default": {}},
            "credentials": {"type": "dict", "default": {}, "no_log": True},
            "credential_files": {"type": "dict", "default": {}, "no_log": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("type",))],
    )
    converge(module, [Provider(desired_of(module, "name", "type", "config", "credentials", "credential_files", "state"), client_of(module))])


if __name__ == "__main__":
    main()
