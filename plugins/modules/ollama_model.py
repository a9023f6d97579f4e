#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_model
short_description: A model of an Ollama that runs on the host
version_added: 0.1.0
description:
  - Makes a model present by pulling it, loaded by having it answer a request, or absent.
  - A pull that was broken off goes on where it ended. While it works, a line now and then is shown,
    and is in the host's journal (C(journalctl -t nemoclaw -f)).
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
requirements:
  - requests (C(python3-requests))
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  name:
    description: Name of the model; without a tag C(latest) is meant.
    type: str
    required: true
  state:
    description:
      - V(present) pulls a model that is not there. V(loaded) also loads it. V(absent) unloads and deletes it.
      - A model that nobody asks is unloaded by Ollama after O(keep_alive), so that V(loaded) is not for ever.
    type: str
    choices: [present, loaded, absent]
    default: present
  url:
    description: URL of Ollama on the host.
    type: str
    default: http://127.0.0.1:11434
  source:
    description: Name that the model is pulled under, at a mirror for instance. It gets O(name).
    type: str
  digest:
    description: The digest that it must have. One that has another is pulled again, and refused when that changes nothing.
    type: str
  insecure:
    description: Whether the registry is spoken to without TLS.
    type: bool
    default: false
  tools:
    description: Whether the model must be able to call tools.
    type: bool
    default: false
  gpu:
    description: Whether a loaded model must be in a GPU's memory.
    type: bool
    default: false
  warm:
    description: Whether a model that was pulled has to answer a request at once.
    type: bool
    default: false
  keep_alive:
    description: How long it stays loaded after the request, such as V(15m), or V(-1) for ever. The service's own setting when not set.
    type: str
  stall_timeout:
    description: Seconds without a byte after which a pull is broken off and begun anew, twice at most.
    type: int
    default: 120
  load_timeouts:
    description: Seconds that the first answer may take, and, where that is not enough, once more.
    type: list
    elements: int
    default: [120, 300]
seealso:
  - module: nemoclaw.fleet.ollama_server
"""

EXAMPLES = r"""
- name: A model, ready to answer
  nemoclaw.fleet.ollama_model:
    name: qwen3.5:9b
    state: loaded

- name: A model from a mirror, of which the digest is known
  nemoclaw.fleet.ollama_model:
    name: qwen3.5:9b
    source: mirror.example.org/library/qwen3.5:9b
    digest: a6de2b712c83d9b720deb3227ce1bd932c912b916afdacb823514ed0aea1b428
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: "model/qwen3.5:9b", field: state, before: absent, after: present}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
model:
  description: The model as it is now; empty when there is none.
  returned: success, outside check mode
  type: dict
  sample: {digest: a6de2b712c83, size_mb: 6300, loaded: true, tools: true}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.model import OllamaModel


def main() -> None:
    module = AnsibleModule(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "loaded", "absent"], "default": "present"},
            "url": {"type": "str", "default": "http://127.0.0.1:11434"},
            "source": {"type": "str"},
            "digest": {"type": "str"},
            "insecure": {"type": "bool", "default": False},
            "tools": {"type": "bool", "default": False},
            "gpu": {"type": "bool", "default": False},
            "warm": {"type": "bool", "default": False},
            "keep_alive": {"type": "str"},
            "stall_timeout": {"type": "int", "default": 120},
            "load_timeouts": {"type": "list", "elements": "int", "default": [120, 300]},
        },
        supports_check_mode=True,
    )
    model = OllamaModel(module.params)
    converge(module, [model], lambda: {"model": model.read()})


if __name__ == "__main__":
    main()
