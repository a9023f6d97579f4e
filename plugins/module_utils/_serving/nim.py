# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A NIM container. Private to the collection."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.container import Container, inspect

PORT, CACHE, KEY = 8000, "/opt/nim/.cache", "/run/secrets/ngc-api-key"  # in the container
SAFE = re.compile(r"[A-Za-z0-9._:/-]+")  # ids that configurations and URLs take as they are


class NimServer(Container):
    """C({name, image, model, key_file, user, cache_dir, port, devices, env, shm_mb, load_timeout, remedy, state}).

    NIM is told which id to serve as, so that it is known before it runs; what it says of itself counts. It asks for no key, so it is on the loopback only.
    """

    kind = "nim"

    def __init__(self, desired: dict[str, t.Any]) -> None:
        self.model = desired.get("model", "")
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
            "labels": {"nemoclaw.fleet/server": "nim"},
            "health": {"path": "/v1", "timeout": desired["load_timeout"]},
        }

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        changes = super().diff(state)
        served = state.get("models") or []
        return changes if changes or not served or self.model in served else [self.change("model", served, self.model)]

    def _await(self, name: str) -> None:
        super()._await(name)
        served = self.models(int(inspect(name)["NetworkSettings"]["Ports"][f"{PORT}/tcp"][0]["HostPort"])) or []
        if self.model in served:
            return
        if unsafe := [one for one in served if not SAFE.fullmatch(one)]:
            raise ResourceError(f"The container {name} serves {unsafe[0]!r}, an id that is refused for its characters.", "Use another image.")
        remedy = f"Set nemoclaw_nim.served_model to {served[0]}, which this image insists on." if served else self._remedy
        raise ResourceError(f"The container {name} serves {', '.join(served) or 'nothing'}, not {self.model}.", remedy)
