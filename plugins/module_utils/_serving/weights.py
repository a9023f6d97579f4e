# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model's weights in the Hugging Face cache of a user: shared with all that use it, gone on with where a download broke off. Private to the collection."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.client import connect, docker, translated
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import owned, secret_file
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.alone import alone
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.caches import folder_of, of_revision, sizes
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import container

INSIDE = "/models"  # of the cache in the container that downloads
TOKEN = "/run/secrets/hf-token"
ATTEMPTS = 3
PAUSE = 1.0
SUFFIXES = (".safetensors", ".gguf", ".bin")
PART = re.compile(r"-\d+-of-(\d+)\.")


class Weights(Resource):
    """C({name, revision, cache_dir, user, image, size_gb, token_file, environment, stall_timeout}); the image brings the program that downloads, C(hf)."""

    kind = "weights"

    @property
    def folder(self) -> str:
        return folder_of(self.desired["cache_dir"], self.name)

    def _size(self) -> int:
        return of_revision(sizes(self.folder), self.desired["revision"])

    def read(self) -> dict[str, t.Any]:
        return {"revision": self.desired["revision"]} if complete(self.folder, self.desired["revision"]) else {}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        return self.compare(state, {"revision": self.desired["revision"]})

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        name = f"nemoclaw-download-{self.name.replace('/', '-').lower()}"
        with alone(name) as waited:
            if not waited or self.changes():
                self._fetch(name)

    def _fetch(self, name: str) -> None:
        self._check_space()
        problem = ""
        for attempt in range(1, ATTEMPTS + 1):
            problem = self._download(name)
            if not problem and self.read():
                return
            problem = problem or "the files are not complete"
            Progress(f"weights {self.name}").say(f"try {attempt} of {ATTEMPTS}: {problem}", at_once=True)
        raise ResourceError(
            f"The weights of {self.name} cannot be downloaded: {problem}",
            "Check the way to the Hugging Face hub (nemoclaw_vllm.env sets HF_ENDPOINT for a mirror) and HF_TOKEN; what was fetched is kept and gone on with.",
        )

    def _check_space(self) -> None:
        there, free = self._size(), shutil.disk_usage(nearest(self.desired["cache_dir"])).free
        missing = int(self.desired["size_gb"] * 10**9) - there
        if missing > free:
            raise ResourceError(
                f"The weights of {self.name} take {self.desired['size_gb']:g} GB, {there / 10**9:.1f} GB of them are there, and "
                f"{self.desired['cache_dir']} has {free / 10**9:.1f} GB free: {(missing - free) / 10**9:.1f} GB are missing.",
                "Free space there, or set nemoclaw_vllm.cache_dir to a larger file system.",
            )

    def _download(self, name: str) -> str:
        """Why it failed; empty when it did not."""
        container.remove(name)
        engine, token, user = connect(), self.desired.get("token_file"), pwd.getpwnam(self.desired["user"])
        owned.make_dir(self.desired["cache_dir"], user)
        mounts = [docker.types.Mount(INSIDE, self.desired["cache_dir"], type="bind")]
        environment = {"HOME": "/tmp", "HF_HOME": INSIDE, **self.desired.get("environment", {})}
        if token:
            mounts.append(docker.types.Mount(TOKEN, token, type="bind", read_only=True))
            environment["HF_TOKEN_PATH"] = TOKEN
        try:
            with translated(f"The download of {self.name} cannot be started"):
                engine.create_container(
                    self.desired["image"], ["download", self.name, "--revision", self.desired["revision"]], name=name, entrypoint=["hf"],
                    environment=environment, user=f"{user.pw_uid}:{user.pw_gid}", host_config=engine.create_host_config(init=True, mounts=mounts),
                )  # fmt: skip
                engine.start(name)
            return self._watch(name)
        finally:
            container.remove(name)

    def _watch(self, name: str) -> str:
        size, moved, stall = self._size(), time.monotonic(), self.desired["stall_timeout"]
        progress, total = Progress(f"weights {self.name}"), self.desired["size_gb"] * 10**9
        while (found := container.inspect(name)) and found["State"]["Running"]:
            if (now := self._size()) != size:
                size, moved = now, time.monotonic()
            if time.monotonic() - moved > stall:
                return f"nothing was received for {stall:g} s"
            progress.fetched(size, total)
            time.sleep(PAUSE)
        if not found:
            return "somebody removed its container"
        if not found["State"]["ExitCode"]:
            return ""
        lines = container.log(name, container.LOG_LINES, [secret_file.read(self.desired.get("token_file") or "")])
        return f"{lines[-1] if lines else 'there is no log of it'}{container.exit_of(found)}"


def complete(folder: str, revision: str) -> bool:
    """Whether a snapshot holds all its files: its configuration, and the parts that the index of the weights names, or those that need none."""
    snapshot = os.path.join(folder, "snapshots", revision)
    if not os.path.exists(os.path.join(snapshot, "config.json")):
        return False
    try:
        with open(os.path.join(snapshot, "model.safetensors.index.json"), encoding="utf-8") as stream:
            parts = set(json.load(stream)["weight_map"].values())
    except FileNotFoundError:
        return whole([name for name in os.listdir(snapshot) if name.endswith(SUFFIXES) and os.path.exists(os.path.join(snapshot, name))])
    except (ValueError, KeyError, AttributeError):
        return False
    return all(os.path.exists(os.path.join(snapshot, part)) for part in parts)


def whole(names: list[str]) -> bool:
    """Whether there are weights, and all parts of those whose names count them. Pure."""
    parts = [PART.split(name) for name in names]
    return bool(names) and all(parts.count(one) == int(one[1]) for one in parts if len(one) > 1)


def nearest(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
