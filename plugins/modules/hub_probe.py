#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: hub_probe
short_description: Whether the Hugging Face hub gives a model to a host
version_added: 0.1.0
description:
  - Asks the hub for one small file of a model, with a token, so that a wrong one is found before gigabytes of anything else are fetched.
  - A hub that cannot be asked is a warning only, because the download may go another way. What it refuses fails the task.
  - The token appears in no result.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
requirements:
  - requests (C(python3-requests))
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.info_module
options:
  model:
    description: Id of the model at Hugging Face.
    type: str
    required: true
  revision:
    description: Its revision.
    type: str
    default: main
  token:
    description: Token of Hugging Face.
    type: str
    default: ""
  cache_dir:
    description: A Hugging Face cache of the host. Where it holds the whole revision, the hub is not asked.
    type: path
  environment:
    description: Environment of the download. C(HF_ENDPOINT) in it is a mirror of the hub; its proxies come before those of the host.
    type: dict
    default: {}
  timeout:
    description: Seconds for connection and answer, each.
    type: int
    default: 20
  token_variable:
    description: Name of the user's variable for O(token), for remedies.
    type: str
    default: nemoclaw_credentials.HF_TOKEN
seealso:
  - module: nemoclaw.fleet.vllm_server
"""

EXAMPLES = r"""
- name: The token opens the model
  nemoclaw.fleet.hub_probe:
    model: deepseek-ai/DeepSeek-R1-Distill-Llama-70B
    token: "{{ nemoclaw_credentials.HF_TOKEN }}"
    cache_dir: /home/nemoclaw/.cache/huggingface
"""

RETURN = r"""
ok: {description: "Whether the hub gives the model, or the host has it.", returned: always, type: bool}
cached: {description: Whether the host has the whole revision., returned: always, type: bool}
failure:
  description:
    - What is wrong; empty when nothing is. V(unauthorized) for a token that is missing or not valid, V(forbidden) for one whose account has not accepted the
      licence or that may not read gated repositories, V(not_found) for a model or revision that is not there, V(unreachable) for a hub that cannot be asked.
  returned: always
  type: str
  choices: ["", unauthorized, forbidden, not_found, unreachable]
  sample: forbidden
detail: {description: What happened., returned: always, type: str, sample: "https://huggingface.co answers 403 for org/model: Access is restricted."}
remedy: {description: What to change., returned: always, type: str, sample: Set nemoclaw_credentials.HF_TOKEN to a token that is valid.}
status: {description: HTTP status that decided; null where there was none., returned: always, type: int, sample: 403}
"""

import os

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.caches import folder_of
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import endpoint as serving
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import hub
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.weights import complete

ARGUMENTS = {
    "model": {"type": "str", "required": True},
    "revision": {"type": "str", "default": "main"},
    "token": {"type": "str", "default": "", "no_log": True},
    "cache_dir": {"type": "path"},
    "environment": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 20},
    "token_variable": {"type": "str", "default": "nemoclaw_credentials.HF_TOKEN", "no_log": False},
}


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    options, result = module.params, {"ok": True, "cached": False, "failure": "", "detail": "", "remedy": "", "status": None}
    if options["cache_dir"] and complete(folder_of(options["cache_dir"], options["model"]), options["revision"]):
        module.exit_json(changed=False, **{**result, "cached": True})
    if hub.requests is None and module.check_mode:
        module.exit_json(changed=False, **{**result, "ok": False, "failure": "unreachable", "detail": "python3-requests is not installed yet"})
    if hub.requests is None:
        module.fail_json(msg=missing_required_lib("requests") + " Run 'apt-get install python3-requests' on the host.")
    environment = {name: str(value) for name, value in options["environment"].items()}
    os.environ.update({name: value for name, value in environment.items() if name.lower().endswith("_proxy")})
    address = environment.get("HF_ENDPOINT") or hub.HUB
    refused = hub.ask(address, options["model"], options["revision"], options["token"], options["token_variable"], options["timeout"])
    if refused is None:
        module.exit_json(changed=False, **result)
    result = serving.mask({**result, **refused._asdict(), "ok": False}, [options["token"]])
    text = f"{result['detail']}. {result['remedy']}"
    if refused.failure != "unreachable":
        module.fail_json(msg=text, **result)
    module.warn(f"Whether {options['model']} can be downloaded is not known: {text}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
