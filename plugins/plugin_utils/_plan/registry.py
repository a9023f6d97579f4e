# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A sandbox's entry in NemoClaw's own list, by the names that NemoClaw gives its fields. Pure functions."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    Values = dict[str, t.Any]


def desired(variables: Values, owner: Values, sandbox: Values, made: Values, inference: Values) -> Values:
    """The resource; C(sandbox) is what the user set, C(made) the plan's entry, C(inference) the plan's.

    Presets come and go on a running sandbox, and a gateway changes its version under it: neither is in the entry.
    """
    gateway = variables["nemoclaw_gateway"]
    common = {"path": f"{owner['state_dir']}/sandboxes.json", "owner": owner["name"], "gateway": gateway["name"], "name": sandbox["name"]}
    if made["state"] == "absent":
        return {**common, "state": "absent"}
    entry: Values = {
        "agent": made["agent"],
        "imageTag": made["image"]["reference"],
        "dashboardPort": made["forward"]["port"],
        "gatewayPort": gateway["port"],
        "openshellDriver": "docker",
        "policyTier": sandbox["policy"]["tier"],
        "gpuEnabled": bool(sandbox.get("gpu")),
        "sandboxGpuEnabled": bool(sandbox.get("gpu")),
    }
    if inference:
        entry.update(
            provider=inference["provider"]["name"],
            model=inference["route"]["model"],
            endpointUrl=inference["endpoint"]["url"],
            credentialEnv=inference["credential"],
        )
    return {**common, "state": "present", "entry": entry}
