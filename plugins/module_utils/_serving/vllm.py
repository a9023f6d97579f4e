# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vLLM in a container: its key, its token, its weights, the server. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.credential_file import CredentialFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.secret_file import SecretFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.engine import SERVER, memory_share
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Resource
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.container import Container
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.weights import Weights

CACHE = "/root/.cache/huggingface"  # in the container
SECRETS = "/run/secrets"
KEY_BYTES = 32


class VllmServer(Container):
    """C({name, image, entrypoint, command, check, environment, key_file, token_file, cache_dir, publish, devices, shm_mb, ulimits, load_timeout, …})."""

    kind = "vllm"

    def __init__(self, desired: dict[str, t.Any]) -> None:
        present = {} if desired.get("state") == "absent" else self._container(desired)
        super().__init__({"name": desired["name"], "state": desired.get("state"), **present})

    @staticmethod
    def _container(desired: dict[str, t.Any]) -> dict[str, t.Any]:
        token = desired.get("token_file")
        same = ("image", "entrypoint", "command", "check", "publish", "devices", "shm_mb", "ulimits", "side_by_side", "remedy")
        files = {desired["key_file"]: f"{SECRETS}/api-key", **({token: f"{SECRETS}/hf-token"} if token else {})}
        environment = {"HF_HOME": CACHE, "VLLM_NO_USAGE_STATS": "1", **({"HF_TOKEN_PATH": f"{SECRETS}/hf-token"} if token else {})}
        return {
            **{key: desired.get(key) for key in same},
            "environment": {**environment, **(desired.get("environment") or {})},
            "secret_files": [{"source": source, "target": target} for source, target in files.items()],
            "secret_environment": {"VLLM_API_KEY": f"{SECRETS}/api-key"},  # as a flag, the server would log it
            "mounts": [{"source": desired["cache_dir"], "target": CACHE}],
            "labels": {SERVER: "vllm"},
            "health": {"path": "/v1", "key_file": desired["key_file"], "timeout": desired["load_timeout"]},
        }

    def _beside(self, before: dict[str, t.Any]) -> bool:
        """C(side_by_side) says that there is room for two like the new one; the one that is there may be larger."""
        return super()._beside(before) and memory_share(before.get("command", [])) <= memory_share(self.desired["command"])


def resources(desired: dict[str, t.Any], token: str) -> list[Resource]:
    """All that a server is made of, in its order; backwards where it is to go."""
    state, user = {"state": desired["state"]}, desired["user"]
    found: list[Resource] = [SecretFile({"path": desired["key_file"], "bytes": KEY_BYTES, "owner": "root", "group": "root", "mode": "0600", **state})]
    if desired.get("token_file"):
        found.append(CredentialFile({"path": desired["token_file"], "owner": user, "group": user, "mode": "0600", **state}, token))
    if desired["state"] == "absent":
        return [VllmServer(desired), *found]
    weights = {**desired["weights"], "user": user, "image": desired["image"], "token_file": desired.get("token_file")}
    obsolete = (CredentialFile({"path": path, "state": "absent"}, "") for path in desired["obsolete_files"])
    return [*found, Weights(weights), VllmServer({**desired, "cache_dir": weights["cache_dir"]}), *obsolete]
