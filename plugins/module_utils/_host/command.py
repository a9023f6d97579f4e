# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the host that administer it. Private to the collection."""

from __future__ import annotations

import os
import subprocess

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import PATH
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError


def call(*argv: str, remedy: str = "", timeout: float = 120) -> str:
    """stdout of a program on root's PATH; its failure is a ResourceError with what it said."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
            argv, env={**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            timeout=timeout, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise ResourceError(f"{argv[0]} is not there.", remedy or f"Install the package that brings {argv[0]}.") from None
    except subprocess.TimeoutExpired:
        raise ResourceError(f"{' '.join(argv)}: no answer within {timeout:.0f} s.", remedy) from None
    if done.returncode:
        raise ResourceError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}", remedy)
    return done.stdout
