# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine as a service with its configuration: merged, tried before it counts, restarted only when it must be. Private to the collection."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import subprocess
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import settings
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import alone
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import replace
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import properties, systemctl
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.engine import SOCKET, ask, mask_url
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import PATH
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

UNIT = "docker.service"
FILE = "/etc/docker/daemon.json"
RECORD = "/var/lib/nemoclaw/engine.json"
DATA_ROOT = "/var/lib/docker"
# a start of the engine that is still to come, for the run of it that goes on: gone with a reboot, void once somebody has restarted it
PENDING = "/run/nemoclaw-engine-pending"


def service() -> dict[str, str]:
    """What systemd says of the engine; C(LoadState) is C(loaded) where there is one."""
    return properties(UNIT, "LoadState", "ActiveState", "UnitFileState", "InvocationID", "ConsistsOf")


def pending() -> str:
    """C(restart) or C(reload) when the running engine does not have yet what was written for it, else empty."""
    try:
        with open(PENDING, encoding="utf-8") as stream:
            invocation, _blank, verb = stream.read().partition(" ")
    except OSError:
        return ""
    return verb if invocation == service()["InvocationID"] else ""


def put_off(verb: str) -> None:
    """Remember, before something is written, that the engine must be restarted (or reloaded) for it: also a run that is interrupted comes to that."""
    if pending() != "restart":
        replace(PENDING, f"{service()['InvocationID']} {verb}")


def text_of(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def parsed(path: str, text: str | None) -> dict[str, t.Any]:
    """The mapping in a file; an empty one where there is none. Raises ResourceError on anything else."""
    if not (text or "").strip():
        return {}
    try:
        found = json.loads(text or "")
    except ValueError as error:
        raise ResourceError(f"{path} is not valid JSON: {error}.", "Correct it, or move it away; nothing was changed.") from None
    if not isinstance(found, dict):
        raise ResourceError(f"{path} holds no mapping.", "Correct it, or move it away; nothing was changed.")
    return found


def holdings(root: str) -> list[str]:
    """What a data root of the engine holds that is not made anew: images, containers, volumes."""
    patterns = {"images": "image/*/imagedb/content/*/*", "containers": "containers/*", "volumes": "volumes/*/_data"}
    counts = {name: len(glob.glob(os.path.join(glob.escape(root), pattern))) for name, pattern in patterns.items()}
    return [f"{count} {name}" for name, count in counts.items() if count]


class Engine(Resource):
    """C({name, settings, defaults, allow_data_root_change}): enabled, running, and its daemon.json holds the settings beside what was there.

    C(defaults) are for an engine that has neither a configuration nor data yet. C(state=absent) takes the settings out again; the engine itself stays.
    """

    kind = "engine"

    def read(self) -> dict[str, t.Any]:
        record = parsed(RECORD, text_of(RECORD))
        if self.absent and not record:  # nothing of ours, so nothing of theirs is looked at
            return {}
        file, unit = text_of(FILE), service()
        state = {
            "installed": unit["LoadState"] == "loaded",
            "enabled": unit["UnitFileState"] == "enabled",
            "active": unit["ActiveState"] == "active",
            "file": file,
            "settings": parsed(FILE, file),
            "record": record,
            "pending": pending(),
            "new": file is None and not holdings(DATA_ROOT),
            "containers": {},
            "cdi": False,
            "data_root": "",
        }
        if state["active"]:
            state["cdi"] = True  # where the engine does not say, that is no reason to restart it
            with contextlib.suppress(OSError, ValueError):  # an engine that does not answer runs nothing that could be named
                info = ask(SOCKET, "/info")[0]
                state.update(cdi=bool(info.get("CDISpecDirs")), data_root=info.get("DockerRootDir", ""))
                state["containers"] = running()
        return state

    def _wanted(self, state: dict[str, t.Any]) -> tuple[dict[str, t.Any], list[dict[str, t.Any]]]:
        record = state["record"].get("settings", [])
        if self.absent:
            return settings.without(state["settings"], record), []
        wanted = dict(self.desired.get("settings", {}))
        ours = ["features", "cdi"] in [entry["path"] for entry in record]
        if state["cdi"] and not ours and "cdi" not in state["settings"].get("features", {}):
            # newer engines have it on by themselves: no reason for a restart
            wanted["features"] = {key: value for key, value in wanted.get("features", {}).items() if key != "cdi"}
            wanted = {key: value for key, value in wanted.items() if value != {}}
        defaults = self.desired.get("defaults", {})
        values = settings.leaves(defaults)
        known = state["new"] or any(values.get(tuple(entry["path"])) == entry["ours"] for entry in record)
        return settings.settle(state["settings"], wanted, defaults if known else {}, record)

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if not state:
            return []
        after, _record = self._wanted(state)
        different = settings.differing(state["settings"], after)
        self._refuse_loss(state, after)
        changes = [self.change(".".join(path), *map(_shown, pair)) for path, pair in different.items()]
        if not self.absent:
            changes += self.compare(state, {"enabled": True, "active": True})
        if state["active"] and state["pending"] and not different:
            changes.append(self.change("configuration in use", "an older one", "as written"))
        if state["active"] and self._verb(state, different) == "restart":
            changes += restarting(self, state["containers"])
        return changes

    def _verb(self, state: dict[str, t.Any], different: t.Iterable[tuple[str, ...]]) -> str:
        """What the running engine takes: C(restart), C(reload), or nothing."""
        paths = list(different)
        if state["pending"] == "restart" or settings.takes_restart(paths):
            return "restart"
        return "reload" if paths or state["pending"] else ""

    def _refuse_loss(self, state: dict[str, t.Any], after: dict[str, t.Any]) -> None:
        old = state["data_root"] or state["settings"].get("data-root", DATA_ROOT)
        new = after.get("data-root", DATA_ROOT)
        if os.path.realpath(old) == os.path.realpath(new) or self.desired.get("allow_data_root_change") or holdings(new):
            return
        if held := holdings(old):
            raise ResourceError(
                f"The engine's data root would move from {old} to {new}, which is empty, and its {', '.join(held)} would be out of sight.",
                "Stop the engine and move the data there yourself, or set nemoclaw_docker.allow_data_root_change: true (nothing is deleted).",
            )

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        alone.apply(self, "nemoclaw-engine", state, self._apply)

    def _apply(self, state: dict[str, t.Any]) -> None:
        after, record = self._wanted(state)
        different = settings.differing(state["settings"], after)
        verb = self._verb(state, different) if state["active"] else ""
        if not state["installed"] and not self.absent:
            raise ResourceError("There is no Docker engine on this host.", "Install one, or set nemoclaw_docker_source to distribution or docker.")
        if different:
            # the record first: with it, settings that were never written are no harm, but written ones without it would stay for ever
            before = text_of(RECORD)
            created = state["record"].get("created", state["file"] is None)
            replace(RECORD, json.dumps({"created": created, "settings": record}, indent=1) + "\n")
            if verb:
                put_off(verb)
            try:
                self._write(after, created)
                activate(verb or ("start" if not self.absent else ""))
                judge_log_driver()
            except ResourceError as error:
                _put_back(FILE, state["file"])
                _put_back(RECORD, before)
                if state["active"]:
                    activate("restart")
                    error.message += " The configuration from before is in force again."
                raise
        else:
            activate(verb or ("start" if not self.absent else ""))
        if not self.absent:
            systemctl("enable", UNIT)
        elif os.path.exists(RECORD):
            os.unlink(RECORD)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(PENDING)

    def _write(self, after: dict[str, t.Any], created: bool) -> None:
        if not after and created:
            _put_back(FILE, None)
        else:
            replace(FILE, json.dumps(after, indent=2) + "\n", validate)


def running() -> dict[str, str]:
    """The restart policies of the containers that a restart of the engine would stop, by name. Raises OSError or ValueError."""
    info, containers = ask(SOCKET, "/info", "/containers/json")
    if info.get("LiveRestoreEnabled"):
        return {}
    found = {}
    for one in containers:
        with contextlib.suppress(ValueError):  # it has gone since it was listed
            about = ask(SOCKET, f"/containers/{one['Id']}/json")[0]
            found[about["Name"].lstrip("/")] = about["HostConfig"]["RestartPolicy"]["Name"]
    return found


def restarting(resource: Resource, containers: dict[str, str]) -> list[Change]:
    """What a restart of the engine means for the containers that run."""
    if not containers:
        return []
    ends = sorted(name for name, policy in containers.items() if policy in ("", "no"))
    after = "restarted with the engine" + (f"; {', '.join(ends)} only when somebody starts them (no restart policy)" if ends else "")
    return [resource.change("running containers", ", ".join(sorted(containers)), after)]


def activate(verb: str) -> None:
    """Start, reload or restart the engine, and wait for what goes and comes with it (the gateways)."""
    if not verb:
        return
    partners = [unit for unit in service()["ConsistsOf"].split() if systemctl("is-active", unit, check=False).strip() == "active"]
    systemctl("reset-failed", UNIT, "docker.socket", check=False)
    try:
        systemctl(verb, UNIT, timeout=300)
    except ResourceError as error:
        raise ResourceError(f"The engine does not start: {(last_words() or error.message).rstrip('.')}.", "See 'journalctl -u docker'.") from None
    deadline = time.monotonic() + 60
    for unit in partners:
        while systemctl("is-active", unit, check=False).strip() != "active":
            if time.monotonic() > deadline:
                raise ResourceError(f"{unit} is not back after the engine's {verb}.", f"See 'journalctl -u {unit}'.")
            time.sleep(0.3)


def judge_log_driver() -> None:
    """The engine itself takes any name, and then starts no container."""
    try:
        info = ask(SOCKET, "/info")[0]
    except (OSError, ValueError):
        return
    known = (info.get("Plugins") or {}).get("Log") or []
    if known and info.get("LoggingDriver") not in [*known, "none"]:
        raise ResourceError(f"The engine has no log driver {info.get('LoggingDriver')}.", f"Choose one of {', '.join(known)} (nemoclaw_docker.log_driver).")


def last_words() -> str:
    """Why the engine gave up, by its own log."""
    done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
        ["journalctl", "-u", UNIT, "-n", "50", "-o", "cat", "--no-pager"], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
    )
    said = [line for line in done.stdout.splitlines() if "failed to start daemon" in line or "unable to configure" in line]
    return said[-1].strip() if said else ""


def validate(path: str) -> None:
    """Have the engine judge a file, where it is of 23.0 or later; an older one says what it thinks at its start."""
    program = shutil.which("dockerd", path=PATH)
    if not program:
        return
    helped, judged = (
        subprocess.run([program, *words], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False)  # pylint: disable=ansible-bad-function
        for words in (["--help"], ["--validate", "--config-file", path])
    )
    if "--validate" in helped.stdout and judged.returncode:
        said = (judged.stderr or judged.stdout).strip().replace(path, FILE)
        raise ResourceError(f"The engine refuses its new configuration: {said}.", "Correct nemoclaw_docker; nothing was changed.")


def _put_back(path: str, text: str | None) -> None:
    if text is not None:
        replace(path, text)
    elif os.path.exists(path):
        os.unlink(path)


def _shown(value: t.Any) -> t.Any:
    """A value as it may be shown: a proxy's password is nobody's business."""
    return mask_url(value) if isinstance(value, str) else value
