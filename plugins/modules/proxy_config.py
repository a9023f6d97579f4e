#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: proxy_config
short_description: Configuration and token of the proxy before model servers of the loopback
version_added: 0.1.0
description:
  - Makes the token on the host, once, and the files that nginx reads. They hold a digest of the token, never the token itself.
  - nginx tests the new configuration as the user that runs it, and a running one is reloaded, so that open streams go on. When it does not take it, the
    configuration from before is in force again.
  - A program of somebody else on one of the ports is named and left alone.
  - Neither token nor private key is part of a result.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  name:
    description: Name of the proxy; its unit is this with C(.service).
    type: str
    required: true
  directory:
    description: Directory of its configuration.
    type: path
    required: true
  runtime:
    description: Directory of what it has while it runs.
    type: path
    required: true
  user:
    description: User that nginx runs as. Needed unless O(state=absent).
    type: str
  config:
    description: The file C(nginx.conf). Needed unless O(state=absent).
    type: str
  listens:
    description: Where it listens.
    type: list
    elements: dict
    default: []
    suboptions:
      address: {description: IPv4 address., type: str, required: true}
      port: {description: Port., type: int, required: true}
  secret:
    description: The file with the token that is made when it is missing.
    type: dict
    suboptions:
      path: {description: Its path., type: path, required: true}
      bytes: {description: How many random bytes., type: int, required: true}
      owner: {description: Its owner., type: str, required: true}
      group: {description: Its group., type: str, required: true}
      mode: {description: Its mode., type: str, required: true}
  tokens:
    description: Files with tokens; those of them that are there are let in.
    type: list
    elements: path
    default: []
  tls:
    description: C(certificate) and C(key), paths on the host. With C(days) they are made when they are missing, and renewed in their last month.
    type: dict
    default: {}
  state:
    description: Whether there is a configuration.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: The proxy lets two tokens in while one is replaced by the other
  nemoclaw.fleet.proxy_config:
    name: nemoclaw-proxy
    user: nemoclaw-proxy
    directory: /etc/nemoclaw/proxy
    runtime: /run/nemoclaw-proxy
    config: "{{ proxy_nginx_conf }}"
    listens: [{address: 0.0.0.0, port: 11435}]
    tokens: [/etc/nemoclaw/proxy/token, /etc/nemoclaw/proxy/token.next]
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: proxy/nemoclaw-proxy, field: accepted.conf, before: 8c7f0be3a1d2, after: 51d0c2ab77e1}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.secret_file import SecretFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.proxy import Proxy

LISTEN = {"address": {"type": "str", "required": True}, "port": {"type": "int", "required": True}}
SECRET = {
    "path": {"type": "path", "required": True},
    "bytes": {"type": "int", "required": True},
    **{key: {"type": "str", "required": True} for key in ("owner", "group", "mode")},
}


def main() -> None:
    module = AnsibleModule(
        {
            "name": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "runtime": {"type": "path", "required": True},
            "user": {"type": "str"},
            "config": {"type": "str"},
            "listens": {"type": "list", "elements": "dict", "options": LISTEN, "default": []},
            # paths, not what is in them
            "secret": {"type": "dict", "options": SECRET, "no_log": False},
            "tokens": {"type": "list", "elements": "path", "default": [], "no_log": False},
            "tls": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("user", "config"))],
        supports_check_mode=True,
    )
    secret = module.params["secret"]
    converge(module, [*([SecretFile(secret)] if secret else []), Proxy(module.params)])


if __name__ == "__main__":
    main()
