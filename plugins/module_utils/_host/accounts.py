# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner's account: read and compared here, made by ansible.builtin.user. Private to the collection."""

from __future__ import annotations

import grp
import os
import pwd
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource


class User(Resource):
    """C({name, groups}): the account exists and is a member of the groups, its own group aside."""

    kind = "user"

    def read(self) -> dict[str, t.Any]:
        try:
            account = pwd.getpwnam(self.name)
        except KeyError:
            return {}
        groups = {grp.getgrgid(gid).gr_name for gid in os.getgrouplist(self.name, account.pw_gid)}
        return {"exists": True, "groups": sorted(groups & set(self.desired.get("groups", [])))}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        return self.compare(state, {"exists": True, "groups": sorted(self.desired.get("groups", []))})
