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
WITH_LOGIN = re.compile(r"//[^/?#\s]*@|^[^/?#\s@]+:[^/?#\s@]+@[^/?#\s@]+:\d+/?$")  # a URL; that of a proxy may lack its scheme
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


def secret_problem(variable: str, name: str, value: t.Any, passed: str) -> t.Iterator[Problem]:
    """An entry of a container's environment that holds a secret, see C(shown_problem); C(passed) is the one that reaches it without being seen."""
    yield from shown_problem(f"{variable}.env.{name}", name, value, "`docker inspect` shows the environment", f"Put it into {SECRETS}; {passed} is passed on.")


def shown_problem(variable: str, name: str, value: t.Any, shown: str, remedy: str) -> t.Iterator[Problem]:
    """An entry of an environment, C(shown) to others, that looks like a secret, for which there is the C(remedy), or is a URL with one."""
    if SECRET_NAME.search(name):
        yield Problem(variable, f"looks like a secret, and {shown}.", remedy)
    elif WITH_LOGIN.search(str(value)):
        remedy = "Give one without. For a proxy that wants a login, name a forwarder without one that logs in there, on the host or beside it."
        yield Problem(variable, f"is a URL with a user or a password, and {shown}.", remedy)


def unit_of(container: str, blueprint: Blueprint) -> dict[str, t.Any]:
    """The resource that has a container with GPUs back after a reboot; the restart policy alone does not with every engine."""
    return {"resource": "unit", "name": f"{container}.service", "content": blueprint.render("inference/container.service.j2", container=container)}
