# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's one inference route: what C(https://inference.local) inside its sandboxes leads to. Private to the collection."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import text
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource

DEFAULT_TIMEOUT = 60


def parse(listing: str) -> dict[str, t.Any]:
    """C({provider, model, timeout}) from the text of C(inference get); empty when not configured."""
    found = text.fields(listing, "Inference")
    if "Provider" not in found:
        return {}
    seconds = re.match(r"\d+", found.get("Timeout", ""))
    return {"provider": found["Provider"], "model": found.get("Model", ""), "timeout": int(seconds.group()) if seconds else DEFAULT_TIMEOUT}


class Route(Resource):
    """C({provider, model, timeout}): timeout in seconds, 0 means the gateway's own default."""

    kind = "route"
    name = "inference.local"

    def __init__(self, desired: dict[str, t.Any], client: OpenShell) -> None:
        super().__init__(desired)
        self.client = client

    def read(self) -> dict[str, t.Any]:
        return parse(self.client.call("inference", "get").stdout)

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        wanted = {key: self.desired[key] for key in ("provider", "model")}
        return self.compare(state, {**wanted, "timeout": self.desired.get("timeout") or DEFAULT_TIMEOUT})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            self.client.call("inference", "delete")
            return
        # --no-verify: the gateway verifies from the host, where host.openshell.internal does not resolve; endpoint_probe made the real request before
        self.client.call(
            "inference", "set", "--provider", self.desired["provider"], "--model", self.desired["model"], "--no-verify",
            "--timeout", str(self.desired.get("timeout") or 0),
        )  # fmt: skip
