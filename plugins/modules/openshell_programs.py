#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: openshell_programs
short_description: OpenShell's programs on a host, verified, upgraded under running gateways
version_added: 0.1.0
description:
  - Installs OpenShell's programs from files of the controller or a download. Each is verified by its SHA-256 before it is unpacked or run, and only
    the programs are taken out of archives.
  - Gateways that run from the directory are stopped, their database and key are copied, the programs are replaced, all of them or none, and the gateways
    are started again. When one is not ready in time, or does not bring its sandboxes back, programs, database and key from before are put back, and the
    module fails.
  - A run that was interrupted is finished, or taken back, by the next one.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.resource
options:
  source:
    description: Where the programs come from. With V(preinstalled) it is only seen to it that they are there.
    type: str
    choices: [preinstalled, directory, archive, url]
    required: true
  programs:
    description: Names of the programs.
    type: list
    elements: str
    default: [openshell, openshell-gateway, openshell-sandbox]
  bin_dir:
    description: Directory of the programs on the host.
    type: path
    default: /usr/local/bin
  version:
    description: The version that the programs must be of. Any that is understood when it is not given.
    type: str
    default: ""
  versions:
    description: The range of OpenShell that is understood, as C(minimum) and C(below).
    type: dict
    suboptions:
      minimum: {description: The oldest version., type: str, required: true}
      below: {description: The first version that is too new., type: str, required: true}
  sha256:
    description: SHA-256 of each program of O(source=directory), by name.
    type: dict
    default: {}
  archives:
    description: The archives that hold the programs, for O(source=archive) and O(source=url).
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: "File name; C(.deb) is a Debian package, all else a tarball.", type: str, required: true}
      sha256: {description: The SHA-256 that it must have., type: str, required: true}
      url: {description: Where it is downloaded from., type: str}
  path:
    description: Directory on the controller with the programs or the archives.
    type: path
  download:
    description: How archives are downloaded.
    type: dict
    suboptions:
      by: {description: Who downloads., type: str, choices: [host, controller], default: host}
      proxy: {description: URL of the proxy instead of the environment's., type: str, default: ""}
      ca: {description: Certificates (PEM) to verify the server by instead of the system's., type: str, default: ""}
      user: {description: User at the server. Without one the secret is a bearer token., type: str, default: ""}
      credential: {description: Name of the secret; for information., type: str, default: ""}
  secret:
    description: Password or token for the server.
    type: str
    default: ""
  files:
    description: Programs or archives that are on the host already, by name. O(path) and a download by the controller end here.
    type: dict
    default: {}
  allow_downgrade:
    description: Whether an older version may replace a newer one.
    type: bool
    default: false
  timeout:
    description: Seconds that a gateway gets to be ready, with its sandboxes, before it is taken back.
    type: int
    default: 60
  keep:
    description: How many copies of database and key are kept of each gateway.
    type: int
    default: 3
"""

EXAMPLES = r"""
- name: OpenShell 0.0.106 from a mirror
  nemoclaw.fleet.openshell_programs:
    source: url
    version: 0.0.106
    archives:
      - name: openshell-x86_64-unknown-linux-musl.tar.gz
        sha256: d1a885a91b3e5aaa006c36aca95dc78bed0638c1ba1a79b55f1da93211b8a0a0
        url: https://mirror.example.org/openshell/0.0.106/openshell-x86_64-unknown-linux-musl.tar.gz
      - name: openshell-gateway-x86_64-unknown-linux-gnu.tar.gz
        sha256: b7760cb752a4363c2f21d32298dd0c683dc438f6edfd16c2e4242bc0baefbb7c
        url: https://mirror.example.org/openshell/0.0.106/openshell-gateway-x86_64-unknown-linux-gnu.tar.gz
      - name: openshell-sandbox-x86_64-unknown-linux-gnu.tar.gz
        sha256: 559b8aaad3a8eeab45c511e7de531d9baa98a311282dcb0c2c5f38cc2d4ca355
        url: https://mirror.example.org/openshell/0.0.106/openshell-sandbox-x86_64-unknown-linux-gnu.tar.gz
"""

RETURN = r"""
changes:
  description: What was different, one entry a field.
  returned: always
  type: list
  elements: dict
  sample: [{resource: programs/openshell, field: version, before: 0.0.101, after: 0.0.106}]
  contains:
    resource: {description: Kind and name., type: str}
    field: {description: Name of the field., type: str}
    before: {description: Value before., type: raw}
    after: {description: Value after., type: raw}
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._front import converge
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.download import Source
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.programs import OPTIONS, Programs


def main() -> None:
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    given = module.params
    desired = {key: given[key] for key in OPTIONS if key not in ("path", "secret", "files")}
    download = given["download"] or {"proxy": "", "ca": "", "user": ""}
    with tempfile.NamedTemporaryFile("w", suffix=".pem", dir=module.tmpdir, encoding="utf-8") as ca:
        ca.write(download["ca"])
        ca.flush()
        source = Source(download["proxy"], ca.name if download["ca"] else "", download["user"], given["secret"])
        converge(module, [Programs(desired, {name: os.path.abspath(path) for name, path in given["files"].items()}, source)])


if __name__ == "__main__":
    main()
