# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's own configuration of a user, C(~/.docker/config.json), as far as it holds credentials of registries. Private to the collection."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pwd
import shutil
import subprocess
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.as_user import as_user
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import PATH
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

HELPER = "docker-credential-"
KNOWN = {"pass": ["pass"], "secretservice": []}  # in Docker's own order, with the programs that they need; Debian's package has both
NOT_FOUND = "credentials not found"  # what a helper says
GONE = "executable file not found"  # what it says of a program that it needs
PATIENCE = 15  # seconds, fewer than as_user has; a helper may ask for a password where nobody sees it


class HelperGone(ResourceError):
    """A helper is not on this host, or a program that it needs."""


class DockerConfig:
    """Read and written as the user it belongs to."""

    def __init__(self, account: pwd.struct_passwd) -> None:
        self._account = account
        self.path = os.path.join(account.pw_dir, ".docker", "config.json")

    def read(self) -> dict[str, t.Any]:
        text = as_user(self._account, _read, self.path)
        if text is None:
            return {}
        try:
            config = json.loads(text or "{}")
        except ValueError:
            config = None
        wrong = not isinstance(config, dict) or not all(isinstance(config.get(key, {}), dict) for key in ("auths", "credHelpers"))
        if wrong:
            raise ResourceError(f"{self.path} is no configuration of Docker; it was left as it is.", "Correct it, or move it away.")
        return config

    def write(self, config: dict[str, t.Any]) -> None:
        as_user(self._account, _write, self.path, json.dumps(config, indent="\t") + "\n")

    def without(self, registry: str) -> None:
        """Take a registry out; sections that held nothing else go too."""
        config = self.read()
        left = dict(config)
        for section in ("auths", "credHelpers"):
            entries = {name: value for name, value in (left.pop(section, None) or {}).items() if name != registry}
            left.update({section: entries} if entries else {})
        if left != config:
            self.write(left)

    def login(self, registry: str) -> dict[str, str]:
        """C({username, password}) that the file itself holds; empty where it holds none."""
        entry = (self.read().get("auths") or {}).get(registry)
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            username, colon, password = base64.b64decode((entry or {}).get("auth") or "").decode().partition(":")
            return {"username": username, "password": password} if colon else {}
        return {}

    def helper(self, registry: str, wanted: str = "") -> str:
        """The helper that keeps the credentials of a registry: the configured one, the wanted one, else the one that is there."""
        config = self.read()
        configured = (config.get("credHelpers") or {}).get(registry) or config.get("credsStore") or ""
        if configured or wanted:
            return wanted or configured
        return next((name for name, needs in KNOWN.items() if all(shutil.which(program, path=PATH) for program in (f"{HELPER}{name}", *needs))), "")

    def ask(self, helper: str, verb: str, given: str) -> dict[str, str]:
        """What a helper answers; empty when it knows nothing of the registry. The secret goes through its standard input."""
        answer = as_user(self._account, _call, self._account.pw_dir, f"{HELPER}{helper}", verb, given)
        if answer["code"]:
            said = answer["said"].strip()
            if NOT_FOUND in said:
                return {}
            remedy = f"Set {helper} up for {self._account.pw_name}, or choose the store none or config."
            error = HelperGone if GONE in said else ResourceError
            raise error(f"{HELPER}{helper} {verb} failed for the user {self._account.pw_name}: {said or answer['code']}.", remedy)
        with contextlib.suppress(ValueError):
            return json.loads(answer["said"])
        return {}


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write(path: str, text: str) -> None:
    """In one step, for the user alone."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    target = os.path.realpath(path)  # Docker's own tools keep a link
    temporary = f"{target}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(temporary, target)


def _call(home: str, program: str, verb: str, given: str) -> dict[str, t.Any]:
    environment = {"HOME": home, "PATH": PATH, "XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
            [program, verb], input=given, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        return {"code": 127, "said": f"{program}: {GONE}"}
    except subprocess.TimeoutExpired:
        return {"code": 124, "said": f"no answer within {PATIENCE} s"}
    return {"code": done.returncode, "said": done.stdout if not done.returncode else done.stdout + done.stderr}
