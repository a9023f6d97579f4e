# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan knows of a model server of the host."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import SECRETS, Problem

SECRET_NAME = re.compile(r"(TOKEN|KEYS?)(?![A-Z])|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)  # not TOKENIZERS_PARALLELISM, not MAX_TOKENS
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


def absence(variable: str, variables: dict[str, t.Any], provider: str) -> t.Iterator[Problem]:
    """What is wrong with a server that is to be absent."""
    if variables["nemoclaw_inference"].get("provider") == provider:
        yield Problem(f"{variable}.state", f"is absent, and the provider {provider} needs the server.", "Set it to present, or choose another provider.")


def secret_problem(variable: str, name: str, passed: str) -> t.Iterator[Problem]:
    """An entry of a container's environment that looks like a secret; C(passed) is the one that reaches it without being seen."""
    if SECRET_NAME.search(name):
        remedy = f"Put it into {SECRETS}; {passed} is passed on."
        yield Problem(f"{variable}.env.{name}", "looks like a secret, and `docker inspect` shows the environment.", remedy)


def unit_of(container: str, blueprint: Blueprint) -> dict[str, t.Any]:
    """The resource that has a container with GPUs back after a reboot; the restart policy alone does not with every engine."""
    return {"resource": "unit", "name": f"{container}.service", "content": blueprint.render("inference/container.service.j2", container=container)}
