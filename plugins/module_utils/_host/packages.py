# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Distribution packages: read and compared here, installed by ansible.builtin.package. Private to the collection."""

from __future__ import annotations

import subprocess
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource


def installed(names: list[str]) -> list[str]:
    """Those of the names that dpkg has installed; an empty list where there is no dpkg."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
            ["dpkg-query", "-W", "-f", "${binary:Package} ${db:Status-Status}\n", *names],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", timeout=60, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return []
    found = {line.split()[0].partition(":")[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name in found]


class Packages(Resource):
    """C({name, packages}): all the packages are installed, or with C(state=absent) none of them."""

    kind = "packages"

    def read(self) -> dict[str, t.Any]:
        return {"installed": installed(self.desired["packages"])}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        return self.compare(state, {"installed": [] if self.absent else self.desired["packages"]})
