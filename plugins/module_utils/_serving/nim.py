# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A NIM container. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.engine import SERVER
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import served
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.container import Container

PORT, CACHE, KEY = 8000, "/opt/nim/.cache", "/run/secrets/ngc-api-key"  # in the container


class NimServer(Container):
    """C({name, image, model, adopt, key_file, user, cache_dir, port, devices, env, shm_mb, load_timeout, remedy, state}).

    NIM is told which id to serve as, so that it is known before it runs; what it says of itself counts. With C(adopt) an image may insist on another one.
    It asks for no key, so it is on the loopback only.
    """

    kind = "nim"

    def __init__(self, desired: dict[str, t.Any]) -> None:
        self.model, self.adopt = desired.get("model", ""), desired.get("adopt", False)
        present = {} if desired.get("state") == "absent" else self._container(desired)
        super().__init__({"name": desired["name"], "state": desired.get("state"), **present})

    @staticmethod
    def _container(desired: dict[str, t.Any]) -> dict[str, t.Any]:
        return {
            **{key: desired.get(key) for key in ("image", "user", "devices", "shm_mb", "remedy")},
            "environment": {"NIM_SERVED_MODEL_NAME": desired["model"], "NIM_CACHE_PATH": CACHE, **(desired.get("env") or {})},
            "secret_files": [{"source": desired["key_file"], "target": KEY}],
            "secret_environment": {"NGC_API_KEY": KEY, "NIM_NGC_API_KEY": KEY},
            "mounts": [{"source": desired["cache_dir"], "target": CACHE}],
            "publish": {"addresses": ["127.0.0.1"], "port": desired["port"], "target": PORT},
            "labels": {SERVER: "nim"},
            "health": {"path": "/v1", "timeout": desired["load_timeout"]},
        }

    @property
    def served(self) -> str:
        """The id that it is known to serve; what it is told, while nobody has seen it."""
        return served.served(served.all_of(), self.name, self.desired["image"], self.model) if self.adopt else self.model

    def read(self) -> dict[str, t.Any]:
        state = super().read()
        if self.absent:
            return {**state, "record": True} if self.name in served.all_of() else state
        return {**state, "served": self.served} if "models" in state else state

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        changes = super().diff(state)
        if self.absent:
            return changes or ([self.change("state", "present", "absent")] if state.get("record") else [])
        models = state.get("models") or []
        return changes if changes or not models or state["served"] in models else [self.change("model", models, state["served"])]

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        super().apply(state, changes)
        if self.absent:
            served.forget(self.name)

    def _await(self, name: str) -> list[str]:
        models = super()._await(name)
        served.keep(name, self.desired["image"], self.model, self._id_of(name, models))
        return models

    def _id_of(self, name: str, models: list[str]) -> str:
        if self.model in models:
            return self.model
        first = next(iter(models), "")  # the model's own; adapters come after it
        if first and not served.SAFE.fullmatch(first):
            raise ResourceError(f"The container {name} serves {first!r}, an id that is refused for its characters.", "Use another image.")
        if self.adopt and first:
            return first
        remedy = f"Set nemoclaw_nim.served_model to {first}, which this image insists on." if first else self._remedy
        raise ResourceError(f"The container {name} serves {', '.join(models) or 'nothing'}, not {self.model}.", remedy)
