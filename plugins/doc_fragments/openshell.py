# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  owner:
    description: User that owns the gateway and its registration. C(openshell) runs with this user's privileges.
    type: str
    default: nemoclaw
  gateway:
    description: Name that the gateway is registered under.
    type: str
    default: nemoclaw
  bin_dir:
    description: Directory of the C(openshell) program on the host.
    type: path
    default: /usr/local/bin
requirements:
  - OpenShell 0.0.72 or later, before 0.1.0
notes:
  - Run it as root (C(become=true)) or as O(owner).
"""
