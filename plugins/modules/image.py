#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: A container image on a host's Docker engine
version_added: 0.1.0
description:
  - Makes an image present by pulling it, by building it from files, or by loading an archive; or makes it absent.
  - A built image is named by the digest of its inputs, C(name:digest). The same inputs are never built twice, and another image never takes the name.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
requirements:
  - docker, the Python SDK (C(python3-docker))
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  name:
    description:
      - The reference of the image, C(repository:tag) or C(repository@sha256:...).
      - For O(source=build) the repository only; the tag is made from the inputs.
      - For O(state=absent) without a tag, all tags of the repository.
    type: str
    required: true
  state:
    description: Whether the image is on the host.
    type: str
    choices: [present, absent]
    default: present
  source:
    description:
      - Where a missing image comes from. V(present) fetches nothing and fails.
      - Only V(archive) replaces an image that has the name already, when its layers differ from those in the archive.
    type: str
    choices: [pull, build, archive, present]
    default: pull
  archive:
    description: Path on the host of an archive made by C(docker save), plain or gzipped.
    type: path
  files:
    description: Files of the build context.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Path below the build context., type: str, required: true}
      content: {description: Text of the file., type: str}
      src: {description: "Path of the file on the host; instead of O(files[].content).", type: path}
      mode: {description: Mode in octal., type: str, default: "0644"}
  context_dir:
    description: Directory on the host whose files are the build context, below those of O(files). A C(.dockerignore) is not honoured.
    type: path
  dockerfile:
    description: Path of the Dockerfile in the build context.
    type: str
    default: Dockerfile
  build_args:
    description:
      - Build arguments. Names that look like secrets are refused, because an image's history shows its build arguments.
      - Proxy settings of the module's environment are passed on without being part of the image's name.
    type: dict
    default: {}
  labels:
    description: Labels of a built image.
    type: dict
    default: {}
  network:
    description: Network that the build runs in, V(host) for instance. The engine's default when not set.
    type: str
  platform:
    description:
      - For O(source=pull), the platform that the image must be for, C(os/architecture[/variant]), or V(host) for the engine's own.
      - Of a tag that has images of several platforms the digest of the one is resolved and pulled, and the image tagged as O(name). An image of another
        platform that has the name is replaced. Not set, the engine takes what it takes.
    type: str
  mirrors:
    description:
      - Where images come from instead, by the beginning of their references, C({"nvcr.io":"mirror.example:5000/nvcr"}). The image gets its own name.
      - One by digest keeps the mirror's name, because a digest cannot be given to it; RV(image.name) says so.
    type: dict
    default: {}
  auth:
    description: Credentials of the registry, for this pull alone. Without them those that C(docker login) left for the user that runs the module.
    type: dict
    suboptions:
      username: {description: User., type: str, required: true}
      password: {description: Password or key., type: str, required: true}
  retries:
    description:
      - How often a pull is tried again after a stall, a connection that broke off, an error of the registry, or when it limits the number of requests.
        What the registry asks to wait (C(Retry-After)) is waited, at most five minutes.
    type: int
    default: 3
  stall_timeout:
    description:
      - Seconds without progress after which a pull, a load or a build is stopped. What was fetched is kept by the engine.
      - What is going on is shown while it works, and is in the host's journal (C(journalctl -t nemoclaw -f)).
    type: int
    default: 600
seealso:
  - module: nemoclaw.fleet.openshell_sandbox
"""

EXAMPLES = r"""
- name: The agent's image, built once for these inputs
  nemoclaw.fleet.image:
    name: nemoclaw/openclaw
    source: build
    files:
      - {path: Dockerfile, content: "{{ lookup('ansible.builtin.file', 'Dockerfile') }}"}
      - {path: nemoclaw-start, content: "{{ lookup('ansible.builtin.file', 'nemoclaw-start') }}", mode: "0755"}
    build_args: {BASE_IMAGE: "registry.example/sandbox:1"}
  register: built

- name: The image of this host's platform, through the site's own registry
  nemoclaw.fleet.image:
    name: nvcr.io/nim/meta/llama-3.1-8b-instruct:latest
    platform: host
    mirrors: {"nvcr.io": "mirror.example:5000/nvcr"}

- name: An image that was copied to the host
  nemoclaw.fleet.image:
    name: registry.example/sandbox:1
    source: archive
    archive: /var/tmp/sandbox.tar.gz

- name: All our builds are gone
  nemoclaw.fleet.image:
    name: nemoclaw/openclaw
    state: absent
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: "image/nemoclaw/openclaw:0f3c9a6de1b2c4d5", field: state, before: absent, after: present (source build)}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
image:
  description: The image as it is on the host; empty when it is absent.
  returned: outside check mode
  type: dict
  contains:
    name: {description: Full reference to use., type: str, sample: "nemoclaw/openclaw:0f3c9a6de1b2c4d5"}
    id: {description: Id of the image., type: str, sample: "sha256:8785d53c4231"}
    tags: {description: All its tags., type: list, elements: str}
    digests: {description: Digests it has in registries., type: list, elements: str}
    labels: {description: Its labels., type: dict}
    layers: {description: Digests of its layers., type: list, elements: str}
    platform: {description: What it is for., type: str, sample: linux/amd64}
pulled:
  description: What was fetched.
  returned: when something was pulled
  type: dict
  contains:
    source: {description: Exact reference., type: str, sample: "mirror.example:5000/nvcr/nim/meta/llama-3.1-8b-instruct@sha256:0f3c9a6de1b2c4d5"}
    size: {description: Bytes that came., type: int, sample: 9600000000}
    tries: {description: How many tries it took., type: int, sample: 1}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.image import Image
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge, fail
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

FILE = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str"},
    "src": {"type": "path"},
    "mode": {"type": "str", "default": "0644"},
}
AUTH = {"username": {"type": "str", "required": True}, "password": {"type": "str", "required": True, "no_log": True}}
ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "source": {"type": "str", "choices": ["pull", "build", "archive", "present"], "default": "pull"},
    "archive": {"type": "path"},
    "files": {"type": "list", "elements": "dict", "default": [], "options": FILE, "mutually_exclusive": [("content", "src")]},
    "context_dir": {"type": "path"},
    "dockerfile": {"type": "str", "default": "Dockerfile"},
    "build_args": {"type": "dict", "default": {}},
    "labels": {"type": "dict", "default": {}},
    "network": {"type": "str"},
    "platform": {"type": "str"},
    "mirrors": {"type": "dict", "default": {}},
    "auth": {"type": "dict", "options": AUTH},
    "retries": {"type": "int", "default": 3},
    "stall_timeout": {"type": "int", "default": 600},
}


def main() -> None:
    module = AnsibleModule(ARGUMENTS, required_if=[("source", "archive", ("archive",))], supports_check_mode=True)
    try:
        image = Image(module.params)
    except ResourceError as error:
        fail(module, error)
    converge(module, [image], lambda: {"image": image.read(), **({"pulled": image.pulled._asdict()} if image.pulled else {})})


if __name__ == "__main__":
    main()
