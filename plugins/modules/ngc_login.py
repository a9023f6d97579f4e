#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ngc_login
short_description: Credentials of nvcr.io or another registry, for a user of a host
version_added: 0.1.0
description:
  - Checks credentials with the registry and keeps them as O(store) says. Only what differs from the last run is checked.
  - What was checked is remembered on the host as a keyed fingerprint (HMAC-SHA256), readable by O(user) only. The secret is in no argument of any program.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
requirements:
  - requests (C(python3-requests))
attributes:
  check_mode: {support: full}
  diff_mode:
    support: full
    details: [Credentials are never shown; that they changed is.]
  idempotent: {support: full}
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
options:
  registry:
    description: The registry, C(host) or C(host:port).
    type: str
    default: nvcr.io
  username:
    description: User of the registry; for nvcr.io the default, whoever the key belongs to.
    type: str
    default: $oauthtoken
  password:
    description: Password; for nvcr.io an NGC API key. Without it an existing login is not compared, and a missing one cannot be made.
    type: str
    aliases: [api_key]
  user:
    description: User of the host who is to have the credentials.
    type: str
    default: root
  store:
    description:
      - V(none) keeps nothing; pulls get the credentials from whoever starts them, as with O(nemoclaw.fleet.image#module:auth).
      - V(helper) gives them to a program C(docker-credential-...), through its standard input, and names it in C(~/.docker/config.json).
      - V(config) puts them into C(~/.docker/config.json), base64-encoded and readable by O(user) only. The rest of the file stays as it is.
      - Credentials that an earlier run kept elsewhere are removed there.
    type: str
    choices: [none, helper, config]
    default: none
  helper:
    description: Name of the helper, V(pass) for C(docker-credential-pass). Not set, the configured one is used, else the one that Docker itself would choose.
    type: str
  state:
    description: Whether the user has the credentials.
    type: str
    choices: [present, absent]
    default: present
  keep:
    description:
      - With O(state=absent), what this module has kept for registries other than these goes, whichever O(registry) is; what others have kept for them stays.
    type: list
    elements: str
seealso:
  - module: nemoclaw.fleet.image
"""

EXAMPLES = r"""
- name: The NGC API key is good
  nemoclaw.fleet.ngc_login:
    password: "{{ nemoclaw_credentials.NGC_API_KEY }}"

- name: People pull by hand
  nemoclaw.fleet.ngc_login:
    password: "{{ nemoclaw_credentials.NGC_API_KEY }}"
    user: nemoclaw
    store: helper

- name: No login any more
  nemoclaw.fleet.ngc_login:
    user: nemoclaw
    state: absent

- name: No login but that of the mirror
  nemoclaw.fleet.ngc_login:
    user: nemoclaw
    state: absent
    keep: [mirror.example:5000]
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: login/nvcr.io, field: state, before: absent, after: logged in as $oauthtoken}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
kind:
  description:
    - What went wrong. V(unauthorized) for credentials that the registry does not know, V(forbidden) for ones that may not do this, V(token) where good
      credentials got a token that is not taken, V(tls) for a certificate that this host does not trust, V(limited), V(unreachable).
  returned: on failure
  type: str
  sample: unauthorized
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.login import STORES, Login, Logins
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge

ARGUMENTS = {
    "registry": {"type": "str", "default": "nvcr.io"},
    "username": {"type": "str", "default": "$oauthtoken"},
    "password": {"type": "str", "no_log": True, "aliases": ["api_key"]},
    "user": {"type": "str", "default": "root"},
    "store": {"type": "str", "choices": list(STORES), "default": "none"},
    "helper": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "keep": {"type": "list", "elements": "str", "no_log": False},
}


def main() -> None:
    module = AnsibleModule(ARGUMENTS, mutually_exclusive=[("keep", "password")], supports_check_mode=True)
    given = module.params
    several = given["state"] == "absent" and given["keep"] is not None
    converge(module, [Logins(given) if several else Login(given)])


if __name__ == "__main__":
    main()
