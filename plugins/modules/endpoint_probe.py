#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_probe
short_description: Whether an inference endpoint answers a real request
version_added: 0.1.0
description:
  - Has a model answer through each API that is asked for, from the host the module runs on, and says what to change when it does not.
  - A server that answers for any model name is found out by a name that cannot exist, and then judged by the models it lists.
  - Proxies of the environment are used. The key appears in no result, not even when the server echoes it.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
requirements:
  - requests (C(python3-requests))
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.info_module
options:
  url:
    description: Base URL of the endpoint. C(/v1) is added when there is no path, what follows the base is taken off.
    type: str
    required: true
  model:
    description: Name of the model.
    type: str
    required: true
  api_key:
    description: Key of the endpoint.
    type: str
    default: ""
  api_key_file:
    description: File on the host that holds the key, instead of O(api_key).
    type: path
  api:
    description: V(completions) is C(/chat/completions), V(messages) Anthropic's. V(auto) tries all and needs one.
    type: str
    choices: [auto, completions, responses, messages]
    default: auto
  timeout:
    description:
      - Seconds that the model has for each answer.
      - Within them a status 429, 502, 503 or 504 is waited out twice, as long as the server asks for (C(Retry-After)).
    type: int
    default: 60
  also_at:
    description: URLs of the same server where it must answer too, at the address of the sandboxes' network for instance.
    type: list
    elements: str
    default: []
  validate_certs:
    description: Whether certificates are checked.
    type: bool
    default: true
  ca_path:
    description: File of CA certificates, instead of the system's.
    type: path
  fail_on_error:
    description: Whether an endpoint that cannot be used fails the task.
    type: bool
    default: true
  url_variable:
    description: Name of the user's variable for O(url), for remedies.
    type: str
    default: nemoclaw_inference.endpoint_url
  model_variable:
    description: Name of the user's variable for O(model), for remedies.
    type: str
    default: nemoclaw_inference.model
  key_variable:
    description: Name of the user's variable for O(api_key), for remedies.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: The endpoint serves the model, to sandboxes too
  nemoclaw.fleet.endpoint_probe:
    url: http://127.0.0.1:8000/v1
    model: meta-llama/Llama-3.1-8B-Instruct
    api_key: "{{ nemoclaw_credentials.COMPATIBLE_API_KEY }}"
    key_variable: nemoclaw_credentials.COMPATIBLE_API_KEY
    also_at: [http://172.30.200.1:8000/v1]
"""

RETURN = r"""
ok: {description: Whether the endpoint can be used., returned: always, type: bool}
failure:
  description:
    - What is wrong; empty when nothing is.
    - V(refused) is also a name that does not resolve, V(server_error) also a request that the server does not accept.
  returned: always
  type: str
  choices: ["", unauthorized, model_not_found, not_an_api, refused, timeout, tls, rate_limited, server_error, loopback_only]
  sample: unauthorized
detail: {description: What happened., returned: always, type: str, sample: "nothing listens on 127.0.0.1:8000 (connection refused)"}
remedy: {description: What to change., returned: always, type: str, sample: "Start the server, or correct host and port in nemoclaw_inference.endpoint_url."}
status: {description: HTTP status that decided; null where there was none., returned: always, type: int, sample: 200}
url: {description: The base URL as it was used., returned: always, type: str, sample: "http://127.0.0.1:8000/v1"}
model: {description: The model that was asked., returned: always, type: str, sample: tiny-agent}
api: {description: The first API that answered., returned: always, type: str, choices: ["", completions, responses, messages], sample: completions}
apis: {description: All APIs that answered., returned: always, type: list, elements: str, sample: [completions, responses]}
models: {description: The models that the endpoint lists., returned: always, type: list, elements: str, sample: [tiny-agent]}
answer: {description: What the model answered., returned: always, type: str, sample: OK}
latency_ms: {description: Milliseconds that the first answer took., returned: always, type: int, sample: 412}
also_at:
  description: Each of O(also_at) with C(url), C(ok) and C(detail).
  returned: always
  type: list
  elements: dict
  sample: [{url: "http://172.30.200.1:8000/v1", ok: true, detail: ""}]
"""

from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import secret_file
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import endpoint as serving
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import probe
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.url import normalise

ARGUMENTS = {
    "url": {"type": "str", "required": True},
    "model": {"type": "str", "required": True},
    "api_key": {"type": "str", "default": "", "no_log": True},
    "api_key_file": {"type": "path", "no_log": False},
    "api": {"type": "str", "choices": ["auto", "completions", "responses", "messages"], "default": "auto"},
    "timeout": {"type": "int", "default": 60},
    "also_at": {"type": "list", "elements": "str", "default": []},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "fail_on_error": {"type": "bool", "default": True},
    "url_variable": {"type": "str", "default": "nemoclaw_inference.endpoint_url"},
    "model_variable": {"type": "str", "default": "nemoclaw_inference.model"},
    "key_variable": {"type": "str", "default": "", "no_log": False},
}


def key_of(module: AnsibleModule, path: str) -> str:
    """The key in a file of the host, which no result of the module shows."""
    try:
        key = secret_file.read(path)
    except UnicodeDecodeError:
        module.fail_json(msg=f"{path} holds something else than a key. Remove it, and apply role proxy or local_inference, which makes it anew.")
    if not key:
        module.fail_json(msg=f"{path} is missing or empty. Apply role proxy or local_inference first, which makes it.")
    module.no_log_values.add(key)
    return key


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    if serving.requests is None:
        module.fail_json(msg=missing_required_lib("requests") + " Run 'apt-get install python3-requests' on the host.")
    options = module.params
    if options["api_key_file"]:
        options["api_key"] = key_of(module, options["api_key_file"])
    names = probe.Names(options["url_variable"], options["model_variable"], options["key_variable"])
    try:
        base = normalise(options["url"])
        also_at = [normalise(url) for url in options["also_at"]]
    except ValueError as error:
        module.fail_json(msg=f"{error}. Set {names.url} to a URL such as http://127.0.0.1:8000/v1.")
    verify = options["validate_certs"] and (options["ca_path"] or True)
    endpoint = serving.Endpoint(base, options["api_key"], options["timeout"], verify)
    result = probe.probe(endpoint, options["model"], options["api"], also_at, names)
    result = serving.mask(result, [options["api_key"], urlsplit(base).password or ""])
    if result["ok"] or not options["fail_on_error"]:
        module.exit_json(changed=False, **result)
    module.fail_json(msg=f"{result['detail']}. {result['remedy']}", **result)


if __name__ == "__main__":
    main()
