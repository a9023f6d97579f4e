#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_server
short_description: A vLLM container that serves a model, with its weights and its key
version_added: 0.1.0
description:
  - Fetches the weights into a Hugging Face cache of the host, makes a key, runs the container and waits until it answers. The same settings leave it alone.
  - With other settings the image's own parser judges them first. Then a new container is made, and the one before is started again when the new one fails.
  - How far download and start are is shown while it works, and is in the host's journal (C(journalctl -t nemoclaw -f)).
  - A plan (M(nemoclaw.fleet.plan)) makes all of these options of a model's name; the role P(nemoclaw.fleet.local_inference#role) passes them on.
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
    default: nemoclaw-vllm
  image:
    description: The image, as M(nemoclaw.fleet.image) has it on the host. Required when O(state=present).
    type: str
  entrypoint:
    description: What is run in the image.
    type: list
    elements: str
    default: [/usr/local/bin/vllm]
  command:
    description: Its arguments, beginning with V(serve). Required when O(state=present).
    type: list
    elements: str
  check:
    description: Command that is run in the image before anything is replaced; where it ends with 2, the arguments are refused.
    type: list
    elements: str
    default: []
  environment:
    description: Environment of the container. No secrets.
    type: dict
    default: {}
  key_file:
    description: File of the host with the key that requests must have, made when there is none. The server's own process reads it.
    type: path
    default: /etc/nemoclaw/vllm/api-key
  token:
    description: Token of Hugging Face, for gated models. It is written to O(token_file); without it that file stays as it is.
    type: str
  token_file:
    description: File of the host for the token, readable by O(user) only.
    type: path
  obsolete_files:
    description: Files of the host that go once the server runs without them, such as that of a token which is not given any more.
    type: list
    elements: path
    default: []
  user:
    description: User of the host that the weights belong to.
    type: str
    default: nemoclaw
  weights:
    description: The weights. Required when O(state=present).
    type: dict
    suboptions:
      name: {description: Id of the model at Hugging Face., type: str, required: true}
      revision: {description: Its revision., type: str, required: true}
      size_gb: {description: Their size in GB; there must be room for what is missing., type: float, required: true}
      cache_dir: {description: The cache., type: path, required: true}
      stall_timeout: {description: Seconds without a byte until the download is begun again where it was., type: int, default: 600}
      environment: {description: Environment of the download., type: dict, default: {}}
  publish:
    description: Where it listens. Required when O(state=present).
    type: dict
    suboptions:
      addresses: {description: Addresses of the host., type: list, elements: str, required: true}
      port: {description: Port on them., type: int, required: true}
      target: {description: Port in the container., type: int, required: true}
  devices:
    description: CDI devices, such as V(nvidia.com/gpu=0).
    type: list
    elements: str
    default: []
  shm_mb:
    description: Shared memory in MiB.
    type: int
    default: 16384
  ulimits:
    description: Limits by name.
    type: dict
    default: {}
  load_timeout:
    description: Seconds from the start of the container to its first answer.
    type: int
    default: 1800
  side_by_side:
    description: Whether there is memory for the new container beside the old one, which then serves until the new one has answered.
    type: bool
    default: false
  remedy:
    description: What a message says when the server does not come up.
    type: str
  state:
    description: Whether the server runs. V(absent) removes container, key and token; image and weights stay.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: nemoclaw.fleet.image
  - module: nemoclaw.fleet.nim_server
"""

EXAMPLES = r"""
- name: A small model on the first GPU
  nemoclaw.fleet.vllm_server:
    image: vllm/vllm-openai@sha256:c2f3b1b964e47809b722b5e75b61b1e7b39a50f70388cf2bf2418f16a9f31da2
    entrypoint: [vllm]
    command: [serve, Qwen/Qwen3.6-27B-FP8, --host, 0.0.0.0, --port, "8000", --max-model-len, "32768"]
    weights:
      name: Qwen/Qwen3.6-27B-FP8
      revision: e89b16ebf1988b3d6befa7de50abc2d76f26eb09
      size_gb: 30.9
      cache_dir: /home/nemoclaw/.cache/huggingface
    publish: {addresses: [127.0.0.1], port: 8000, target: 8000}
    devices: [nvidia.com/gpu=0]
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: vllm/nemoclaw-vllm, field: state, before: absent, after: running}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.vllm import resources

TEXTS = {"type": "list", "elements": "str"}
WEIGHTS = {
    "name": {"type": "str", "required": True},
    "revision": {"type": "str", "required": True},
    "size_gb": {"type": "float", "required": True},
    "cache_dir": {"type": "path", "required": True},
    "stall_timeout": {"type": "int", "default": 600},
    "environment": {"type": "dict", "default": {}},
}
PUBLISH = {"addresses": {**TEXTS, "required": True}, "port": {"type": "int", "required": True}, "target": {"type": "int", "required": True}}
ARGUMENTS = {
    "name": {"type": "str", "default": "nemoclaw-vllm"},
    "image": {"type": "str"},
    "entrypoint": {**TEXTS, "default": ["/usr/local/bin/vllm"]},
    "command": TEXTS,
    "check": {**TEXTS, "default": []},
    "environment": {"type": "dict", "default": {}},
    "key_file": {"type": "path", "default": "/etc/nemoclaw/vllm/api-key", "no_log": False},
    "token": {"type": "str", "no_log": True},
    "token_file": {"type": "path", "no_log": False},
    "obsolete_files": {"type": "list", "elements": "path", "default": []},
    "user": {"type": "str", "default": "nemoclaw"},
    "weights": {"type": "dict", "options": WEIGHTS},
    "publish": {"type": "dict", "options": PUBLISH},
    "devices": {**TEXTS, "default": []},
    "shm_mb": {"type": "int", "default": 16384},
    "ulimits": {"type": "dict", "default": {}},
    "load_timeout": {"type": "int", "default": 1800},
    "side_by_side": {"type": "bool", "default": False},
    "remedy": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENTS, required_if=[("state", "present", ("image", "command", "weights", "publish"))], supports_check_mode=True)
    token = module.params.pop("token")
    converge(module, resources(module.params, token or ""))


if __name__ == "__main__":
    main()
