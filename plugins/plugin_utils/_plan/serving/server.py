# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan knows of a model server of the host."""

from __future__ import annotations

import typing as t

LATER = "known-after-the-probe"  # a model that only the host's facts can tell


class Server(t.NamedTuple):
    """C(url) is on the host's loopback, without C(/v1); C(model) is the id that it answers to; C(key_file) on the host holds its key.

    One that is C(proxied) takes no key, and is reached by sandboxes through the proxy. C(context_window) is 0 where nobody knows, C(memory_mb) the GPU
    memory it takes, 0 for none. C(resources) make it, in their order: each is the desired state of a resource, with its class as C(resource).
    """

    url: str
    model: str
    resources: list[dict[str, t.Any]]
    key_file: str = ""
    proxied: bool = False
    context_window: int = 0
    memory_mb: int = 0
