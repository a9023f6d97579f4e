# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image on the host's engine. Private to the collection."""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import build_context, manifests, pull
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.client import EngineError, EngineUnavailable, connect, docker, refused, translated, watched
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.reference import mirrored, split
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

STALL_TIMEOUT = 600
LOG_LINES = 40
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Image(Resource):
    """One image by its reference, or for C(state=absent) without a tag all tags of the repository.

    Desired: C(name, source, state) and, by source, C(files, context_dir, dockerfile, build_args, labels, network), C(archive), or C(platform, mirrors, auth,
    retries) as C(pull.Order) has them; C(stall_timeout).
    An engine that does not answer has no images: that is a difference to a desired image, and applying it says what is wrong.
    """

    kind = "image"

    def __init__(self, desired: dict[str, t.Any]) -> None:
        super().__init__({"state": "present", "source": "present", **{key: value for key, value in desired.items() if value is not None}})
        self.context: list[build_context.Entry] = []
        self.pulled: pull.Pulled | None = None
        if self.desired["source"] == "build" and not self.absent:
            self.context = build_context.entries(self.desired.get("files", []), self.desired.get("context_dir"))
            self.desired["name"] = self._name_of_build()

    @property
    def name(self) -> str:
        name = self.desired["name"]
        return name if split(name)[1] or self.absent else f"{name}:latest"

    def _name_of_build(self) -> str:
        """The reference ends in the digest of the inputs, so that the same inputs are never built twice."""
        repository, tag = split(self.desired["name"])
        digest = build_context.digest(self.context, self.dockerfile, self.build_args, self.labels)[: build_context.DIGITS]
        if tag not in ("", digest):
            raise ResourceError(f"The inputs of the image {repository} make the tag {digest}, not {tag}.", "Give its name without a tag.")
        return f"{repository}:{digest}"

    @property
    def dockerfile(self) -> str:
        return self.desired.get("dockerfile", "Dockerfile")

    @property
    def build_args(self) -> dict[str, str]:
        return {key: str(value) for key, value in self.desired.get("build_args", {}).items()}

    @property
    def labels(self) -> dict[str, str]:
        return {key: str(value) for key, value in self.desired.get("labels", {}).items()}

    @property
    def stall_timeout(self) -> float:
        return self.desired.get("stall_timeout", STALL_TIMEOUT)

    def read(self) -> dict[str, t.Any]:
        """C({name, id, tags, digests, labels, layers}); empty when there is no such image."""
        try:
            engine = connect()
        except EngineUnavailable:
            return {}
        try:
            with translated(f"The image {self.name} cannot be read"):
                if self.absent and not split(self.name)[1]:
                    tags = sorted(tag for image in engine.images(name=self.name) for tag in image["RepoTags"] or [])
                    return {"name": self.name, "tags": tags} if tags else {}
                name = self._known_as(engine)
                found = engine.inspect_image(name)
        except EngineError as error:
            if isinstance(error.__cause__, docker.errors.NotFound):
                return {}
            raise
        return {
            "name": name,
            "id": found["Id"],
            "tags": sorted(found.get("RepoTags") or []),
            "digests": sorted(found.get("RepoDigests") or []),
            "labels": (found.get("Config") or {}).get("Labels") or {},
            "layers": (found.get("RootFS") or {}).get("Layers") or [],
            "platform": f"{found['Os']}/{found['Architecture']}",
        }

    def _known_as(self, engine: docker.APIClient) -> str:
        """An image that was pulled from a mirror by its digest keeps the mirror's name: a digest cannot be given."""
        from_mirror = mirrored(self.name, self.desired.get("mirrors") or {})
        if "@" in self.name and from_mirror != self.name:
            with contextlib.suppress(docker.errors.NotFound):
                engine.inspect_image(from_mirror)
                return from_mirror
        return self.name

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        """By presence; an archive also by the layers of the image in it, as its tag may stay while it changes."""
        if self.absent:
            return [self.change("tag", tag, None) for tag in ([state["name"]] if split(self.name)[1] else state["tags"])] if state else []
        if not state:
            return [self.change("state", "absent", f"present (source {self.desired['source']})")]
        if self.desired["source"] == "archive":
            return self.compare({"layers": state["layers"]}, {"layers": archived(self.desired["archive"], self.name)["layers"]})
        if self.desired.get("platform"):
            wanted = pull.platform_of(self._order(self.name))
            return [] if manifests.same_platform(state["platform"], wanted) else [self.change("platform", state["platform"], wanted)]
        return []

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            for change in changes:
                self._remove(change.before)
        else:
            {"pull": self._pull, "build": self._build, "archive": self._load, "present": self._miss}[self.desired["source"]]()

    def _remove(self, tag: str) -> None:
        with translated(f"The image {tag} cannot be removed", "Remove the containers that use it first ('docker ps -a' names them)."):
            connect().remove_image(tag)

    def _miss(self) -> None:
        raise ResourceError(f"The image {self.name} is not on this host and is not to be fetched (source: present).", "Load it, or choose another source.")

    def _pull(self) -> None:
        self.pulled = pull.pull(self._order(self.name))

    def _order(self, reference: str) -> pull.Order:
        chosen = {key: self.desired[key] for key in ("platform", "mirrors", "auth", "stall_timeout", "retries") if key in self.desired}
        return pull.Order(reference, **chosen)

    def _load(self) -> None:
        path = self.desired["archive"]
        archived(path, self.name)  # its own errors are clearer than the engine's
        engine = watched(self.stall_timeout)
        failure = f"The archive {path} cannot be loaded"
        with translated(failure), open(path, "rb") as stream:  # the engine unpacks compressed ones itself
            said = "".join(event.get("stream", "") for event in _events(engine.load_image(stream), failure))
            loaded = [line.split(": ", 1)[1] for line in said.splitlines() if line.startswith("Loaded image")]
            if self.name not in loaded:
                if len(loaded) != 1:
                    raise ResourceError(f"The archive {path} holds {', '.join(loaded) or 'no image'}, not {self.name}.", "Correct the name or the archive.")
                engine.tag(loaded[0], *split(self.name))

    def _build(self) -> None:
        secrets = build_context.secrets_in(self.build_args)
        if secrets:
            raise ResourceError(
                f"The build arguments {', '.join(secrets)} look like secrets; the history of an image shows its build arguments.",
                "Give secrets to the sandbox at run time (nemoclaw_credentials).",
            )
        text = next((entry.data.decode() for entry in self.context if entry.path == os.path.normpath(self.dockerfile)), None)
        if text is None:
            raise ResourceError(f"The build context of {self.name} has no {self.dockerfile}.", "Add it to files, or name it in dockerfile.")
        for base in build_context.base_images(text, self.build_args):
            self._ensure_base(base)
        proxies = {name: os.environ[name] for name in PROXIES if name in os.environ}
        log: list[str] = []
        progress = Progress(f"image {self.name}")
        failure = f"The image {self.name} could not be built"
        with translated(failure):
            events = watched(self.stall_timeout).build(
                fileobj=build_context.tar(self.context), custom_context=True, dockerfile=self.dockerfile, tag=self.name, rm=True, forcerm=True, decode=True,
                buildargs={**proxies, **self.build_args}, labels=self.labels, network_mode=self.desired.get("network"),
            )  # fmt: skip
            for event in _events(events, failure, log=log):
                lines = event.get("stream", "").splitlines()
                log += lines
                for step in (one for one in lines if one.startswith("Step ")):  # what a step prints is for the log alone
                    progress.say(step, at_once=True)

    def _ensure_base(self, base: str) -> None:
        chosen = {key: self.desired.get(key) for key in ("mirrors", "auth", "retries")}
        image = Image({"name": base, "source": "pull", "stall_timeout": self.stall_timeout, **chosen})
        if image.read():
            return
        try:
            image.apply({}, [])
        except ResourceError as error:
            arguments = ", ".join(name for name, value in self.build_args.items() if value == base) or "the FROM line"
            raise ResourceError(
                f"The base image {base} of {self.name} is not on this host and cannot be pulled: {error.message}",
                f"Load it on the host ('docker load'), or name another one ({arguments}).",
            ) from error


def _events(stream: t.Iterable[t.Any], failure: str, remedy: str = "", log: t.Sequence[str] = ()) -> t.Iterator[dict[str, t.Any]]:
    """The engine's events; one that is an error ends them with an exception that shows the end of the log."""
    for event in stream:
        if "error" in event:
            tail = "\n".join(log[-LOG_LINES:])
            raise refused(failure, event["error"], remedy, log=f"\nThe log ends with:\n{tail}\n" if tail else "")
        yield event


def archived(path: str, name: str) -> dict[str, t.Any]:
    """C({tags, layers}) of the image in an archive of C(docker save), without loading it: the one of that name, or the only one."""
    try:
        with tarfile.open(path) as archive:
            images = json.load(_member(archive, "manifest.json"))
            chosen = [image for image in images if name in (image.get("RepoTags") or [])] or images
            if len(chosen) != 1:
                held = ", ".join(tag for image in images for tag in image.get("RepoTags") or [])
                raise ResourceError(f"The archive {path} holds several images ({held}), none of them {name}.", "Correct the name or the archive.")
            config = json.load(_member(archive, chosen[0]["Config"]))
    except (OSError, tarfile.TarError, ValueError, KeyError) as error:
        raise ResourceError(f"{path} is not an archive of 'docker save': {error}.", "Make it with 'docker save -o FILE IMAGE', copy it there.") from error
    return {"tags": chosen[0].get("RepoTags") or [], "layers": config["rootfs"]["diff_ids"]}


def _member(archive: tarfile.TarFile, name: str) -> t.IO[bytes]:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(name)
    return stream
