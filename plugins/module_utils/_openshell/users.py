# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Further users of a gateway. Private to the collection."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import owned
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.as_user import as_user
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.gateway import Gateway
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource


def registered_endpoint(directory: str) -> str:
    try:
        return json.loads(owned.read(os.path.join(directory, "metadata.json")) or b"{}").get("gateway_endpoint", "")
    except (ValueError, OSError):
        return ""


def forget(directory: str) -> None:
    """A registration is as if it had never been."""
    shutil.rmtree(directory)
    gateways = os.path.dirname(directory)
    active = os.path.join(os.path.dirname(gateways), "active_gateway")
    if (owned.read(active) or b"").decode("utf-8", "replace").strip() == os.path.basename(directory):
        os.unlink(active)
    for path in (gateways, os.path.dirname(gateways), os.path.dirname(os.path.dirname(gateways))):
        try:
            os.rmdir(path)
        except OSError:
            return


class Users(Resource):
    """C({name, users, endpoint, tls_dir}): further users with whom the gateway is registered as it is with its owner, and nobody else.

    Who else has it is read from the homes of the host's users: no record can be lost or outdated. What root has is root's affair.
    """

    kind = "gateway users"

    def __init__(self, desired: dict[str, t.Any], owner: OpenShell) -> None:
        super().__init__(desired)
        self._owner = owner

    def _of(self, user: str) -> Gateway:
        return Gateway({key: value for key, value in self.desired.items() if key not in ("users", "health_port", "versions")}, self._owner.of_user(user))

    def read(self) -> dict[str, t.Any]:
        wanted = {user: self._of(user).read() for user in self.desired["users"]}
        others = [account for account in pwd.getpwall() if account.pw_uid and account.pw_name not in (self._owner.owner, *wanted)]
        return {**wanted, **{account.pw_name: {"endpoint": self.desired["endpoint"]} for account in others if self._is_ours(account)}}

    def _is_ours(self, account: pwd.struct_passwd) -> bool:
        """Whether a user has this gateway under this name; looked for as root, for its being there alone."""
        directory = os.path.join(account.pw_dir, ".config", "openshell", "gateways", self.name)
        return account.pw_dir.startswith("/") and os.path.isdir(directory) and as_user(account, registered_endpoint, directory) == self.desired["endpoint"]

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        changes = [change._replace(resource=f"gateway/{self.name} of {user}") for user in self.desired["users"] for change in self._of(user).diff(state[user])]
        others = sorted(set(state) - set(self.desired["users"]))
        return changes + [Change(f"gateway/{self.name} of {user}", "state", "present", "absent") for user in others]

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        for user, found in state.items():
            gateway = self._of(user)
            if user not in self.desired["users"]:
                as_user(gateway.client.account, forget, gateway.directory)
            elif gateway.diff(found):
                gateway.apply(found, [])
