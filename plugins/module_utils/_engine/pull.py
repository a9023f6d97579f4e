# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulling an image: of one platform, from a mirror, again after what passes. Private to the collection."""

from __future__ import annotations

import re
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import manifests
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.client import STALLED, EngineError, Stalled, connect, docker, refused, translated, watched
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.reference import mirrored, registry_of, split
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.registry import Registry, RegistryError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress, amount
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

HOST = "host"  # the platform of the engine
WAITING = ("Waiting", "Retrying")  # texts of a pull that show waiting, not progress
BACKOFF = 2  # seconds before the second try, twice as many before each further one
REMEDY = "Check the reference and that the host reaches the registry (proxy of the engine, 'docker login'), or load it from an archive."
TRUST = "The engine does not trust the registry: put its CA into /usr/local/share/ca-certificates, run 'update-ca-certificates' and restart Docker."
REFUSED = re.compile(r"unauthorized|denied|authentication required|no basic auth|\b40[13]\b", re.IGNORECASE)
LIMITED = re.compile(r"toomanyrequests|too many requests|\b429\b", re.IGNORECASE)
PASSING = re.compile(
    r"\bEOF\b|connection reset|broken pipe|i/o timeout|handshake timeout|deadline exceeded|Client\.Timeout|failed to copy|short read|"
    r"INTERNAL_ERROR; received from peer|server sent GOAWAY|http2: client connection lost|"
    r"unexpected (HTTP )?status[^:]*: 5\d\d|unexpected status .* 5\d\d|error parsing HTTP 5\d\d|filesystem layer verification failed|failed commit",
    re.IGNORECASE,
)


class Passing(EngineError):
    """What may be gone the next time, after C(wait) seconds."""

    kind = "passing"

    def __init__(self, message: str, remedy: str = "", wait: float = 0) -> None:
        super().__init__(message, remedy)
        self.wait = wait


class Order(t.NamedTuple):
    """What to pull: C(platform) is C(os/architecture[/variant]), C(HOST) or empty for what the engine takes; C(auth) C({username, password})."""

    reference: str
    platform: str = ""
    mirrors: dict[str, str] | None = None
    auth: dict[str, str] | None = None
    stall_timeout: float = 600
    retries: int = 3

    @property
    def source(self) -> str:
        return mirrored(self.reference, self.mirrors or {})


class Pulled(t.NamedTuple):
    """What was fetched, by its exact reference, with how many bytes, in how many tries."""

    source: str
    size: int
    tries: int


def pull(order: Order) -> Pulled:
    """Pull an image, with the wanted name in the end. Raises Stalled, RegistryError, EngineError."""
    for tries in range(1, order.retries + 2):
        try:
            exact = _exact(order)
            size = _fetch(order, exact)
            break
        except (Stalled, Passing, RegistryError) as error:
            passing = not isinstance(error, RegistryError) or error.kind == "limited"
            if not passing or tries > order.retries:
                error.message = f"{error.message.rstrip('.')} ({tries} tries)." if tries > 1 else error.message
                raise
            pause = max(getattr(error, "wait", 0), BACKOFF * 2 ** (tries - 1))
            Progress(f"image {order.reference}").say(f"{error.message} Again in {pause:.0f} s, try {tries + 1} of {order.retries + 1}.", at_once=True)
            time.sleep(pause)
    _name(order, exact)
    return Pulled(exact, size, tries)


def platform_of(order: Order) -> str:
    if order.platform != HOST:
        return manifests.full_platform(order.platform)
    version = connect().version()
    return manifests.full_platform(f"{version['Os']}/{version['Arch']}")


def _exact(order: Order) -> str:
    """What the engine is to be asked for: of a tag with images of several platforms the digest of the one.

    An engine with containerd's store would look at every entry of the index, notes on the images of other platforms included.
    """
    repository, tag = split(order.source)
    host = registry_of(order.source)
    if not order.platform or not host or ":" in tag:
        return order.source
    try:
        found = registry(host, order.auth).manifest(repository, tag or "latest")
    except RegistryError as error:
        if error.kind in ("limited", "unauthorized", "forbidden", "token"):
            error.message = f"The image {order.source} could not be pulled: {error.message}"
            raise
        return order.source  # the engine has other ways, or says it better
    if found.kind not in manifests.INDEXES:
        return f"{repository}@{found.digest}"
    images, wanted = manifests.platforms(found.body), platform_of(order)
    chosen = images.get(wanted) or next((digest for one, digest in images.items() if manifests.same_platform(one, wanted)), "")
    if images and not chosen:
        raise ResourceError(f"{order.source} has no image for {wanted}; it has {', '.join(sorted(images))}.", "Choose another image or another platform.")
    return f"{repository}@{chosen}" if chosen else order.source


def registry(host: str, auth: dict[str, str] | None) -> Registry:
    """With the given credentials, else those that a 'docker login' left for the user who runs this."""
    if not auth:
        with translated(f"The credentials of {host} cannot be read"):
            found = docker.auth.load_config().resolve_authconfig(registry=host) or {}
        auth = {key: found.get(key) or found.get(key.capitalize()) or "" for key in ("username", "password")}
    return Registry(host, auth.get("username", ""), auth.get("password", ""), connect().info())


def _fetch(order: Order, exact: str) -> int:
    repository, tag = split(exact)
    failure = f"The image {exact} could not be pulled"
    platform = order.platform if order.platform not in ("", HOST) and exact == order.source else None
    engine = watched(order.stall_timeout)
    try:
        with translated(failure, REMEDY):
            events = engine.pull(repository, tag=tag or "latest", stream=True, decode=True, platform=platform, auth_config=order.auth or None)
            return _follow(events, failure, order)
    except Stalled:
        raise
    except EngineError as error:
        raise _explained(order, error) from error
    finally:
        engine.close()  # the engine stops a pull that nobody listens to


def _follow(events: t.Iterable[dict[str, t.Any]], failure: str, order: Order) -> int:
    """Wait for the end; the bytes that came. Raises Stalled when nothing moves."""
    progress, moved = Progress(f"image {order.reference}"), time.monotonic()
    seen: dict[str, tuple[str, int]] = {}
    layers: dict[str, tuple[int, int]] = {}
    for event in events:
        if "error" in event:
            raise refused(failure, event["error"], REMEDY)
        name, status, detail = event.get("id", ""), event.get("status", ""), event.get("progressDetail") or {}
        where = (status, detail.get("current") or 0)
        if not status.startswith(WAITING) and seen.get(name) != where:
            seen[name], moved = where, time.monotonic()
        elif time.monotonic() - moved > order.stall_timeout:
            raise Stalled(f"{failure}: nothing moved for {order.stall_timeout:g} s.", STALLED)
        if status == "Downloading":
            layers[name] = (where[1], detail.get("total") or 0)
        elif status == "Download complete" and name in layers:
            layers[name] = (layers[name][1], layers[name][1])
        done, total = (sum(numbers) for numbers in zip(*layers.values())) if layers else (0, 0)
        if done < total:
            progress.fetched(done, total)
        else:
            progress.say(f"{status} {amount(total)}")
    return sum(done for done, _total in layers.values())


def _explained(order: Order, error: EngineError) -> ResourceError:
    """What the engine said, as what it comes to: passing, refused for a reason that the registry tells, or as it is."""
    said, host = error.message, registry_of(order.source)
    if LIMITED.search(said):
        return Passing(said, "Wait, or use credentials or a mirror.", _asked_to_wait(order))
    if PASSING.search(said):
        return Passing(said, error.remedy)
    if "x509" in said or "certificate" in said:
        return EngineError(said, TRUST)
    if REFUSED.search(said) and host:
        try:
            registry(host, order.auth).manifest(*_asked(order))
        except RegistryError as reason:
            reason.message = f"The image {order.source} could not be pulled: {reason.message}"
            return reason
        if order.auth:  # good for us: a token that ran out on the way
            return Passing(said, error.remedy)
    return error


def _asked(order: Order) -> tuple[str, str]:
    repository, tag = split(order.source)
    return repository, tag or "latest"


def _asked_to_wait(order: Order) -> float:
    """The engine does not pass on for how long; the registry says it again."""
    host = registry_of(order.source)
    try:
        if host:
            registry(host, order.auth).manifest(*_asked(order))
    except RegistryError as error:
        return error.wait
    return 0


def _name(order: Order, exact: str) -> None:
    """Check the platform, and give the image the wanted name."""
    engine = connect()
    with translated(f"The image {exact} cannot be named {order.reference}"):
        if order.platform:
            found, wanted = engine.inspect_image(exact), platform_of(order)
            platform = f"{found['Os']}/{found['Architecture']}"
            if not manifests.same_platform(platform, wanted):
                raise ResourceError(f"{order.source} is for {platform}, not for {wanted}.", "Choose an image for this platform.")
        repository, tag = split(order.reference)
        if exact != order.reference and ":" not in tag:
            engine.tag(exact, repository, tag or "latest")
