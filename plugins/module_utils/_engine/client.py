# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way to the host's Docker engine: the docker SDK's low-level client. Private to the collection."""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import storage
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.engine import image_store
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

try:
    import docker
    import docker.errors
    import requests
    import urllib3
except ImportError:
    docker = None


FULL = "no space left on device"
HELPER = "Install the helper that is named, or take it out of ~/.docker/config.json (credsStore, credHelpers) of the user that runs this."
STALLED = "Check the network to the registry, or raise stall_timeout; what was fetched is kept."


class EngineError(ResourceError):
    """The engine refused a request."""

    kind = "engine"


class EngineUnavailable(EngineError):
    """There is no docker SDK, no engine, or it does not answer."""


class Stalled(EngineError):
    """The engine works on a request but does not get on."""

    kind = "stalled"


@functools.cache
def connect() -> docker.APIClient:
    """A client of the engine at DOCKER_HOST, else of the local socket. Raises EngineUnavailable."""
    return _client(60)


def watched(timeout: float) -> docker.APIClient:
    """A client that gives up when the engine says nothing for so many seconds, also in the middle of a pull, a load or a build.

    The SDK waits for ever there: it asks for no timeout.
    """
    engine = _client(timeout)
    engine._set_request_timeout = lambda arguments: {**arguments, "timeout": timeout}
    return engine


def _client(timeout: float) -> docker.APIClient:
    if docker is None:
        raise EngineUnavailable("Python's docker module is missing on this host.", "Run 'apt-get install python3-docker python3-requests'.")
    try:
        return docker.APIClient(base_url=os.environ.get("DOCKER_HOST") or None, version="auto", timeout=timeout)
    except docker.errors.DockerException as error:
        raise EngineUnavailable(f"The Docker engine does not answer: {error}.", "Run 'systemctl enable --now docker'.") from error


def refused(what: str, said: str, remedy: str = "", log: str = "") -> EngineError:
    """The error for what the engine said; a full disk is named."""
    if FULL in said.lower():
        info = connect().info()
        root = storage.image_root(Host(), image_store(info), info["DockerRootDir"])
        remedy = (
            f"Free space there ('df -h {root}' and 'docker system df' show what takes it, 'docker image prune' is safe) and run again: what was made stays."
        )
        what = f"{what}: the disk of {root}, where the engine keeps its images, is full"
    return EngineError(f"{what}: {said.strip().rstrip('.')}{log or '.'}", remedy)


@contextlib.contextmanager
def translated(what: str, remedy: str = "") -> t.Iterator[None]:
    """Errors of the engine as EngineError with what was tried, silence for longer than the client waits as Stalled."""
    try:
        yield
    except docker.errors.APIError as error:
        raise refused(what, str(error.explanation or error), remedy) from error
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
        raise Stalled(f"{what}: the engine was silent for too long ({error}).", STALLED) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise EngineError(f"{what}: the connection to the engine broke off ({error}).", "See 'journalctl -u docker'.") from error
    except docker.errors.DockerException as error:  # of the SDK itself, which asks the user's credential helper before the engine
        raise EngineError(f"{what}: {error}.", HELPER if "Credentials store" in str(error) else remedy) from error
