#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ollama_server
short_description: Ollama as a service of the host, on the loopback only
version_added: 0.1.0
description:
  - Installs Ollama's program where that is asked for, and keeps it running as a service that listens on 127.0.0.1 alone.
  - A unit that is there, of the distribution or of Ollama's installer, stays as it is and gets a drop-in, so that one that listened on all addresses no longer
    does. Where there is none, one is made. A process on the port that is not of the unit is named and left alone.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
requirements:
  - requests (C(python3-requests))
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  name:
    description: Name of the unit.
    type: str
    default: ollama.service
  state:
    description: V(absent) takes away what this module made, the unit, the drop-in and the program; models too, where the unit was its own.
    type: str
    choices: [present, absent]
    default: present
  unit:
    description: Content of the unit where there is none.
    type: str
    default: ""
  port:
    description: Port on the loopback.
    type: int
    default: 11434
  environment:
    description: Settings of the service by the names of their environment variables, such as C(OLLAMA_KEEP_ALIVE). No secrets; every user can read them.
    type: dict
    default: {}
  library:
    description: Back end that it is to use, such as V(cuda_v13), where it has it. Its own choice when empty.
    type: str
    default: ""
  models_dir:
    description: Directory of the models; made for the unit's user when missing.
    type: str
    default: ""
  user:
    description: User of a unit that is made here; made too when missing.
    type: str
    default: ollama
  home:
    description: Home of that user.
    type: str
    default: /var/lib/ollama
  timeout:
    description: Seconds until a started server answers.
    type: int
    default: 60
  source:
    description: Where the program comes from. V(present) needs it to be there.
    type: str
    choices: [present, archive, url]
    default: present
  path:
    description: The program on the host.
    type: path
    default: /usr/local/bin/ollama
  prefix:
    description: Directory that an archive's C(bin/ollama) and C(lib/ollama) are put below.
    type: path
    default: /usr/local
  archive:
    description: Name of the release's archive, .tgz or .tar.zst.
    type: str
    default: ""
  file:
    description: Path on the host of the archive, of O(source=archive).
    type: path
    default: ""
  url:
    description: URL of the archive, of O(source=url).
    type: str
    default: ""
  sha256:
    description: SHA-256 of the archive.
    type: str
    default: ""
  checksums:
    description: URL of a list that C(sha256sum) wrote, with a line for the archive; instead of O(sha256), of O(source=url).
    type: str
    default: ""
  version:
    description: Version that the archive must hold. Any when empty.
    type: str
    default: ""
  minimum:
    description: Oldest version that is installed.
    type: str
    default: 0.7.0
seealso:
  - module: nemoclaw.fleet.ollama_model
"""

EXAMPLES = r"""
- name: Ollama of the distribution listens on the loopback, and keeps models for an hour
  nemoclaw.fleet.ollama_server:
    environment: {OLLAMA_KEEP_ALIVE: 1h}
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: ollama/ollama.service, field: listens on, before: ["::"], after: [127.0.0.1]}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.program import Program
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.server import OllamaServer

TEXT = {"type": "str", "default": ""}
PROGRAM = ("state", "source", "path", "prefix", "archive", "url", "sha256", "checksums", "version", "minimum")


def main() -> None:
    module = AnsibleModule(
        {
            "name": {"type": "str", "default": "ollama.service"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "unit": TEXT,
            "port": {"type": "int", "default": 11434},
            "environment": {"type": "dict", "default": {}},
            "library": TEXT,
            "models_dir": TEXT,
            "user": {"type": "str", "default": "ollama"},
            "home": {"type": "str", "default": "/var/lib/ollama"},
            "timeout": {"type": "int", "default": 60},
            "source": {"type": "str", "choices": ["present", "archive", "url"], "default": "present"},
            "path": {"type": "path", "default": "/usr/local/bin/ollama"},
            "prefix": {"type": "path", "default": "/usr/local"},
            "archive": TEXT,
            "file": {"type": "path", "default": ""},
            "url": TEXT,
            "sha256": TEXT,
            "checksums": TEXT,
            "version": TEXT,
            "minimum": {"type": "str", "default": "0.7.0"},
        },
        required_if=[
            ("source", "archive", ("archive", "sha256")),
            ("source", "url", ("archive", "url")),
            ("source", "url", ("sha256", "checksums"), True),
        ],
        supports_check_mode=True,
    )
    program = Program({key: module.params[key] for key in PROGRAM}, module.params["file"])
    server = OllamaServer({**module.params, "program": program.contents})
    converge(module, [server, program] if module.params["state"] == "absent" else [program, server])


if __name__ == "__main__":
    main()
