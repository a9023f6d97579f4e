#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: The complete desired state of a host
version_added: 0.1.0
description:
  - Checks all C(nemoclaw_*) variables of the host, and says all that is wrong with them at once, each with the remedy.
  - With O(facts), makes the plan of the host from them and the blueprint, with every default resolved. It is pure, so the same input gives the same plan.
  - Runs on the controller. Nothing is done on the host. No secret is part of a plan.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  idempotent: {support: full}
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
options:
  facts:
    description: What M(nemoclaw.fleet.host_probe) returned as C(facts). Without them the variables are only checked.
    type: dict
  credentials_needed:
    description: Whether the credentials that the plan needs must be there.
    type: bool
    default: true
  host_checked:
    description: Whether what this host cannot do is refused. A plan that is only taken back needs no host that could do it.
    type: bool
    default: true
  leftovers_named:
    description: Whether model servers and a proxy of earlier runs that nothing asks for any more are named, as warnings.
    type: bool
    default: false
  approved:
    description:
      - A directory of plans on the controller, as the playbook C(nemoclaw.fleet.plan) writes them. The plan must be among them.
      - When it is not, the message says whether the variables, the blueprint or the host have changed since, and what of the plan.
    type: path
"""

EXAMPLES = r"""
- name: Check the variables
  nemoclaw.fleet.plan:

- name: Make the plan
  nemoclaw.fleet.plan:
    facts: "{{ probe.facts }}"
  register: planned
"""

RETURN = r"""
plan:
  description: The plan, with owner, gateway, inference, sandboxes and its digest.
  returned: when O(facts) is given
  type: dict
  sample: {schema: 1, host: spark1, digest: 9f86d08...}
file:
  description: The name of a file that holds the plan.
  returned: when O(facts) is given
  type: str
  sample: spark1-9f86d081884c.json
notes:
  description: What sandboxes go without, and how to change that.
  returned: when O(facts) is given
  type: list
  elements: str
  sample: ["assistant: preset npm left out: set nemoclaw_package_hosts.npm"]
leftovers:
  description: Model servers and a proxy of earlier runs that nothing asks for any more.
  returned: when O(facts) is given
  type: list
  elements: dict
  sample: [{kind: nim, name: nemoclaw-nim, what: "nemoclaw-nim of an earlier run runs on port 8000, and nothing asks for it any more. …"}]
ports:
  description: The ports of the host that the plan opens.
  returned: success
  type: list
  elements: dict
  sample: [{port: 8080, purpose: nemoclaw_gateway.port, variable: nemoclaw_gateway.port, ours: nemoclaw-gateway.service}]
repair:
  description: What a run may repair by itself.
  returned: success
  type: list
  elements: str
  sample: [swap]
swap:
  description: The swap that the host needs.
  returned: success
  type: dict
  sample: {least_mb: 12000, path: /swapfile-nemoclaw, size_mb: 8192}
network:
  description: The Docker network of the sandboxes, and the ports of the host that they must reach.
  returned: success
  type: dict
  sample: {name: nemoclaw, subnet: 172.30.200.0/24, address: 172.30.200.1, ports: [8080]}
no_proxy:
  description: Names, addresses and networks that must not be reached by a proxy.
  returned: success
  type: list
  elements: str
  sample: [localhost, 127.0.0.1, 172.30.200.0/24, host.openshell.internal]
servers:
  description: Where model servers are looked for.
  returned: success
  type: dict
  sample: {ollama_port: 11434, openai_ports: [8000], caches: []}
gpu:
  description: Whether a sandbox wants a GPU.
  returned: success
  type: bool
owner:
  description: The user that owns the gateway.
  returned: success
  type: str
  sample: nemoclaw
users:
  description: The users whose facts are needed.
  returned: success
  type: list
  elements: str
  sample: [nemoclaw, ann]
bin_dir:
  description: The directory of OpenShell's programs on the host.
  returned: success
  type: str
  sample: /usr/local/bin
requirements:
  description: What the blueprint requires of a host.
  returned: success
  type: dict
  sample: {cpus: 4, memory_mb: 8192, disk_gb: 20}
errors:
  description: All mistakes in the variables.
  returned: when there are any
  type: list
  elements: dict
  sample: [{variable: "nemoclaw_sandboxes[0].name", problem: has 25 characters, remedy: Use at most 19 characters.}]
"""
