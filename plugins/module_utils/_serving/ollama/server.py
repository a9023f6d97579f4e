# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama as a service of the host that listens on the loopback only. Private to the collection."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import ipaddress
import os
import pwd
import shutil
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import alone, units
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.command import call
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import replace
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import listeners
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.ports import stop, who
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.servers import DROPIN, MARK
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.api import Ollama, OllamaError

LOOPBACK = "127.0.0.1"
ACCOUNT = "Ollama (nemoclaw.fleet)"  # the comment of an account that was made here
GROUPS = ("render", "video")  # who may use GPUs, where a distribution has such groups
LIBRARIES = ("/usr/local/lib/ollama", "/usr/lib/ollama", "/lib/ollama")
ENABLED = ("enabled", "alias", "static", "generated")


class OllamaServer(Resource):
    """C({name, port, environment, library, program, unit, user, home, models_dir, timeout}): the service runs with these settings, on the loopback.

    A unit that is there, of the distribution or of Ollama's installer, stays as it is and gets a drop-in; where there is none, C(unit) is the content of
    ours. C(library) is the back end that it is to use, where it has it. C(program) stands for the program's contents: another one is started.
    """

    kind = "ollama"

    def __init__(self, desired: dict[str, t.Any]) -> None:
        super().__init__({"name": "ollama.service", **desired})
        self.unit = os.path.join(units.UNIT_DIR, self.name)
        self.dropin = f"{self.unit}.d/{DROPIN}"

    @property
    def _settings(self) -> str:
        """The drop-in."""
        library = self.desired.get("library")
        backend = {"OLLAMA_LLM_LIBRARY": library} if library and any(os.path.isdir(f"{path}/{library}") for path in LIBRARIES) else {}
        environment = {**backend, **self.desired.get("environment", {}), "OLLAMA_HOST": f"{LOOPBACK}:{self.desired['port']}"}
        if self.desired.get("models_dir"):
            environment["OLLAMA_MODELS"] = self.desired["models_dir"]
        lines = [f"Environment={quoted(f'{name}={value}')}\n" for name, value in sorted(environment.items())]
        running = hashlib.sha256("".join([*lines, self.desired.get("program", ""), self.desired["unit"]]).encode()).hexdigest()
        return "".join([MARK, "[Service]\n", *lines, f"Environment={units.DIGEST}={running[:16]}\n"])

    @property
    def _running(self) -> str:
        return self._settings.rstrip("\n").rpartition("=")[2]

    def read(self) -> dict[str, t.Any]:
        shown = units.properties(self.name, "LoadState", "ActiveState", "UnitFileState", "MainPID")
        pid = int(shown.get("MainPID") or 0)
        content = text_of(self.unit)
        held = listeners.read(Host(), [{"port": self.desired["port"], "address": "0.0.0.0"}])[0]["listeners"]
        own = [one for one in held if one["pid"] == pid or one["unit"] == self.name]  # also when it has been started again since its process was asked for
        return {
            "ours": content.startswith(MARK),
            "unit": content if content.startswith(MARK) or shown.get("LoadState") == "not-found" else None,
            "settings": text_of(self.dropin),
            "enabled": shown.get("UnitFileState") in ENABLED,
            "active": shown.get("ActiveState") == "active",
            "running": units.running_digest(pid) if pid else "",
            "addresses": sorted(one["address"] for one in held if one in own),
            "answers": not own or self._answers(),
            "strangers": [one for one in held if one not in own],
        }

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state["ours"] or state["settings"] else []
        wanted = {"settings": self._settings, "enabled": True, "active": True}
        if state["unit"] is not None:
            wanted = {"unit": MARK + self.desired["unit"], **wanted}
        changes = self.compare(state, wanted)
        if state["addresses"] and not all(ipaddress.ip_address(address).is_loopback for address in state["addresses"]):
            changes.append(self.change("listens on", state["addresses"], [LOOPBACK]))
        if not changes and state["running"] != self._running:
            changes.append(self.change("running configuration", state["running"], self._running))
        if not changes and not state["answers"]:
            changes.append(self.change("answers", False, True))
        return changes

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        alone.apply(self, "nemoclaw-ollama", state, self._apply)

    def _apply(self, state: dict[str, t.Any]) -> None:
        if self.absent:
            self._remove(state)
            return
        if state["strangers"]:
            raise foreign(state["strangers"], self.desired["port"], self.name)
        if state["unit"] is not None:
            self._account()
            replace(self.unit, MARK + self.desired["unit"])
        replace(self.dropin, self._settings)
        units.systemctl("daemon-reload")
        self._models_dir()
        units.systemctl("enable", self.name)
        units.systemctl("reset-failed", self.name, check=False)
        began = time.time()
        try:
            units.systemctl("restart", self.name)
        except ResourceError:
            raise units.failure(self.name, began, f"{self.name} does not start.") from None
        self._await(began)

    def _account(self) -> None:
        """The user of our unit, who may use the GPUs."""
        try:
            pwd.getpwnam(self.desired["user"])
        except KeyError:
            groups = [name for name in GROUPS if any(group.gr_name == name for group in grp.getgrall())]
            call(
                *("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", self.desired["home"], "--shell", "/usr/sbin/nologin"),
                *("--comment", ACCOUNT, *(["--groups", ",".join(groups)] if groups else []), self.desired["user"]),
            )

    def _models_dir(self) -> None:
        """The directory of the models, of the user that the unit runs as."""
        path = self.desired.get("models_dir")
        if path and not os.path.isdir(path):
            os.makedirs(path, mode=0o755)
            shutil.chown(path, units.properties(self.name, "User").get("User") or "root")

    def _answers(self) -> bool:
        with contextlib.suppress(OllamaError):
            return bool(Ollama(f"http://{LOOPBACK}:{self.desired['port']}").version())
        return False

    def _await(self, began: float) -> None:
        """Wait until it answers, on the loopback alone."""
        deadline = time.time() + self.desired["timeout"]  # from now on: a hung one takes a while to stop
        while not self._answers():
            if time.time() > deadline:
                raise units.failure(self.name, began, f"{self.name} does not answer within {self.desired['timeout']} s.")
            time.sleep(0.2)
        wide = [change.before for change in self.diff(self.read()) if change.field == "listens on"]
        if wide:
            raise ResourceError(
                f"{self.name} listens on {', '.join(wide[0])} although {self.dropin} says otherwise.",
                f"Take OLLAMA_HOST out of the EnvironmentFile or the command line of {self.name} ('systemctl cat {self.name}').",
            )

    def _remove(self, state: dict[str, t.Any]) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.dropin)
        with contextlib.suppress(OSError):  # others' are beside it
            os.rmdir(os.path.dirname(self.dropin))
        if state["ours"]:
            units.systemctl("disable", "--now", self.name, check=False)
            os.unlink(self.unit)
            self._remove_account()
        units.systemctl("daemon-reload")
        if not state["ours"] and state["active"]:
            units.systemctl("restart", self.name)

    def _remove_account(self) -> None:
        """The user of our unit with its models, if it was made here."""
        with contextlib.suppress(KeyError):
            if pwd.getpwnam(self.desired["user"]).pw_gecos == ACCOUNT:
                shutil.rmtree(self.desired["home"], ignore_errors=True)
                call("userdel", self.desired["user"])


def quoted(text: str) -> str:
    """A word of a unit file."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def text_of(path: str) -> str:
    """A file's text; empty where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
    return ""


def foreign(strangers: list[dict[str, t.Any]], port: int, unit: str) -> ResourceError:
    """The error for a port that others hold: they are named and left alone."""
    named = ", ".join(dict.fromkeys(f"{who(one)} on {one['address']}" for one in strangers))
    return ResourceError(
        f"The port {port} is held by {named}, which is not {unit}; it was left alone.",
        f"{stop(strangers[0], port)} or set nemoclaw_ollama.port to a free port.",
    )
