# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret of the user's in a file that only its owner can read, for a service that must hold one. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.secret_file import PrivateFile


class CredentialFile(PrivateFile):
    """C({path, credential, owner, group, mode}) and the value. Where nobody gave one it is not compared."""

    kind = "credential"
    mark = "current"

    def __init__(self, desired: dict[str, t.Any], value: str) -> None:
        super().__init__(desired)
        self.value = value

    def _right(self, content: str) -> bool:
        return not self.value or content == self.value

    def _wanted(self, content: str) -> str:
        return self.value or content
