# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options shared by the modules that run C(openshell); documented by the C(openshell) fragment. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import BIN_DIR, OpenShell

OPENSHELL_OPTIONS: dict[str, dict[str, t.Any]] = {
    "owner": {"type": "str", "default": "nemoclaw"},
    "gateway": {"type": "str", "default": "nemoclaw"},
    "bin_dir": {"type": "path", "default": BIN_DIR},
}


def openshell_module(options: dict[str, dict[str, t.Any]], **kwargs: t.Any) -> AnsibleModule:
    """The module with the shared options added; check mode is supported by all."""
    return AnsibleModule(argument_spec={**OPENSHELL_OPTIONS, **options}, supports_check_mode=True, **kwargs)


def client_of(module: AnsibleModule) -> OpenShell:
    return OpenShell(module.params["owner"], module.params["gateway"], module.params["bin_dir"])


def desired_of(module: AnsibleModule, *names: str, **more: t.Any) -> dict[str, t.Any]:
    """The named parameters that were given, as the desired state of a resource."""
    return {**{name: module.params[name] for name in names if module.params[name] is not None}, **more}
