#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: nim_server
short_description: A NIM container that serves a model on the loopback
version_added: 0.1.0
description:
  - Runs a NIM of an image that is on the host, and waits until it answers. The same settings leave it alone.
  - With other settings a new container is made. The one before is started again when the new one does not come to answer.
  - NIM is told which id to serve the model as. Where it then lists another one, O(adopt) says whether that is an error.
  - It asks its users for no key and is reached on 127.0.0.1 only.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
requirements:
  - docker and requests (C(python3-docker), C(python3-requests))
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  name:
    description: Name of the container.
    type: str
    default: nemoclaw-nim
  image:
    description: The image, as M(nemoclaw.fleet.image) has it on the host. Required when O(state=present).
    type: str
  model:
    description: Id that the model is served as. Required when O(state=present).
    type: str
  adopt:
    description: Whether another id is taken where the image insists on it. Ids with characters other than letters, digits and C(._:/-) never are.
    type: bool
    default: false
  key:
    description:
      - NGC API key, with which NIM fetches the model. It is written to O(key_file) and read from there by the server's own process as C(NGC_API_KEY);
        C(docker inspect) does not show it. Without it the file stays as it is.
    type: str
  key_file:
    description: File of the host for the key, readable by O(user) only.
    type: path
    default: /etc/nemoclaw/nim/ngc-api-key
  user:
    description: User of the host that the server runs as; the cache belongs to it.
    type: str
    default: nemoclaw
  cache_dir:
    description: Directory of the host for what NIM fetches. It must be there and belong to O(user). Required when O(state=present).
    type: path
  port:
    description: Port on 127.0.0.1.
    type: int
    default: 8000
  devices:
    description: CDI devices, V(nvidia.com/gpu=0) or V(nvidia.com/gpu=all).
    type: list
    elements: str
    default: []
  env:
    description: Further environment, C(NIM_MAX_MODEL_LEN) for instance. No secrets.
    type: dict
    default: {}
  shm_mb:
    description: Shared memory in MiB.
    type: int
    default: 16384
  load_timeout:
    description: Seconds from its start to its first answer.
    type: int
    default: 1200
  remedy:
    description: What a message says when the server does not come up.
    type: str
  state:
    description: Whether the server runs. V(absent) removes the container and the key; image and cache stay.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: nemoclaw.fleet.ngc_login
  - module: nemoclaw.fleet.image
"""

EXAMPLES = r"""
- name: A NIM on the first GPU
  nemoclaw.fleet.nim_server:
    image: nvcr.io/nim/meta/llama-3.1-8b-instruct:latest
    model: meta/llama-3.1-8b-instruct
    key: "{{ nemoclaw_credentials.NGC_API_KEY }}"
    cache_dir: /home/nemoclaw/.cache/nim
    devices: [nvidia.com/gpu=0]
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: nim/nemoclaw-nim, field: state, before: absent, after: running}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
served:
  description: Id that the model is served as.
  returned: when O(state=present), outside check mode
  type: str
  sample: meta/llama-3.1-8b-instruct
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.credential_file import CredentialFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.nim import NimServer

ARGUMENTS = {
    "name": {"type": "str", "default": "nemoclaw-nim"},
    "image": {"type": "str"},
    "model": {"type": "str"},
    "adopt": {"type": "bool", "default": False},
    "key": {"type": "str", "no_log": True},
    "key_file": {"type": "path", "default": "/etc/nemoclaw/nim/ngc-api-key", "no_log": False},
    "user": {"type": "str", "default": "nemoclaw"},
    "cache_dir": {"type": "path"},
    "port": {"type": "int", "default": 8000},
    "devices": {"type": "list", "elements": "str", "default": []},
    "env": {"type": "dict", "default": {}},
    "shm_mb": {"type": "int", "default": 16384},
    "load_timeout": {"type": "int", "default": 1200},
    "remedy": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENTS, required_if=[("state", "present", ("image", "model", "cache_dir"))], supports_check_mode=True)
    given = module.params
    user, key = given["user"], given.pop("key")
    file = {"path": given["key_file"], "owner": user, "group": user, "mode": "0600", "state": given["state"]}
    server = NimServer(given)
    resources = [CredentialFile(file, key or ""), server]
    if given["state"] == "absent":
        converge(module, resources[::-1])
    converge(module, resources, lambda: {"served": server.served})


if __name__ == "__main__":
    main()
