# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret of the user's in a file that only its owner can read, for a service that must hold one. Private to the collection."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import secret_file
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import File
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change


class CredentialFile(File):
    """C({path, credential, owner, group, mode}) and the value, which is in no state and no change. Where nobody gave one it is not compared."""

    kind = "credential"

    def __init__(self, desired: dict[str, t.Any], value: str) -> None:
        super().__init__(desired)
        self.value = value

    def read(self) -> dict[str, t.Any]:
        state = super().read()
        return {**state, "current": not self.value or secret_file.read(self.name) == self.value} if state else {}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        return self.compare(state, {"current": True, **{key: self.desired[key] for key in ("owner", "group", "mode")}})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            os.unlink(self.name)
            return
        secret_file.write(self.name, self.value or secret_file.read(self.name), self.desired["owner"], self.desired["group"], self.desired["mode"])
