# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd system units with their contents. Private to the collection."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import text
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

UNIT_DIR = "/etc/systemd/system"
DIGEST = "NEMOCLAW_CONFIG_DIGEST"


def systemctl(*args: str, check: bool = True, timeout: float = 150) -> str:
    """stdout of C(systemctl ARGS)."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
            ["systemctl", *args], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise ResourceError("systemctl is not there.", "The host must run systemd.") from None
    except subprocess.TimeoutExpired:
        raise ResourceError(f"systemctl {' '.join(args)}: no answer within {timeout:.0f} s.", f"See `systemctl status {args[-1]}`.") from None
    if check and done.returncode:
        raise ResourceError(f"systemctl {' '.join(args)}: {done.stderr.strip()}", f"See `systemctl status {args[-1]}` and `journalctl -u {args[-1]}`.")
    return done.stdout


def properties(name: str, *names: str) -> dict[str, str]:
    """What systemd says of a unit, by the names of its properties."""
    return dict(line.partition("=")[::2] for line in systemctl("show", name, "-p", ",".join(names)).splitlines())


@contextlib.contextmanager
def stopped(name: str | None) -> t.Iterator[None]:
    """Without a unit, that runs again afterwards in any case if it ran before."""
    running = bool(name) and properties(name, "ActiveState").get("ActiveState") not in ("inactive", "failed")
    if running:
        systemctl("stop", name)
    try:
        yield
    finally:
        if running:
            systemctl("start", "--no-block", name)


def running_digest(pid: int) -> str:
    """The configuration digest that a running process was started with: what is on disk may have moved on without it."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            entries = stream.read().decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    return next((entry.partition("=")[2] for entry in entries if entry.startswith(f"{DIGEST}=")), "")


def restarts(name: str) -> int:
    """How often systemd has started a unit again by itself."""
    return int(systemctl("show", "--value", "-p", "NRestarts", name).strip() or 0)


def failure(name: str, since: float, problem: str) -> ResourceError:
    """An error that holds what the unit's own processes said last, since a time; the journal would only be pointed at otherwise."""
    words = last_words(name, since)
    remedy = text.REMEDIES.get(text.classify(words), "") if words else ""
    return ResourceError(f"{problem}{f' It says: {words}' if words else ''}", f"{remedy} See `systemctl status {name}` and `journalctl -u {name}`.".strip())


def last_words(name: str, since: float) -> str:
    """The last error that a unit's processes wrote (systemd's own lines about it left out), else their last line; empty where there is none."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
            ["journalctl", "--no-pager", "--output=cat", "--lines=40", f"--since=@{since:.0f}", f"_SYSTEMD_UNIT={name}"],
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=20, check=False,
        )  # fmt: skip
        return text.last_error(done.stdout)
    return ""


class Unit(Resource):
    """C({name, content, state}): the unit file as given, enabled and running with it; C(state=absent) stops and removes it.

    When the content sets NEMOCLAW_CONFIG_DIGEST, the running process must have been started with that very value: an interrupted run, or a file that
    changed under a running process, is found and ends in a restart.
    """

    kind = "unit"

    @property
    def path(self) -> str:
        return os.path.join(UNIT_DIR, self.name)

    @property
    def digest(self) -> str:
        lines = self.desired.get("content", "").splitlines()
        return next((line.partition(f"{DIGEST}=")[2].strip('"') for line in lines if line.startswith(f"Environment={DIGEST}=")), "")

    def read(self) -> dict[str, t.Any]:
        shown = properties(self.name, "LoadState", "ActiveState", "UnitFileState", "MainPID")
        state: dict[str, t.Any] = {}
        if os.path.isfile(self.path):
            with open(self.path, encoding="utf-8", errors="replace") as stream:
                state["content"] = stream.read()
        elif shown.get("LoadState") in ("not-found", "masked", None) and shown.get("ActiveState") != "active":
            return {}
        pid = int(shown.get("MainPID") or 0)
        return {
            **state,
            "enabled": shown.get("UnitFileState") == "enabled",
            # "activating" with a process is a unit that systemd restarts again and again, or that has just been started
            "active": shown.get("ActiveState") == "active",
            "digest": running_digest(pid) if pid else "",
        }

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        wanted = {"content": self.desired["content"], "enabled": True, "active": True}
        changes = self.compare(state, wanted)
        if not changes and self.digest and state["digest"] != self.digest:
            changes.append(self.change("running configuration", state.get("digest"), self.digest))
        return changes

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        fields = {change.field for change in changes}
        if self.absent:
            systemctl("disable", "--now", self.name, check=False)
            if os.path.isfile(self.path):
                os.unlink(self.path)
            systemctl("daemon-reload")
            systemctl("reset-failed", self.name, check=False)
            return
        if "content" in fields:
            temporary = f"{self.path}.new"
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(self.desired["content"])
            os.chmod(temporary, 0o644)
            os.replace(temporary, self.path)
            systemctl("daemon-reload")
        if "enabled" in fields:
            systemctl("enable", self.name)
        systemctl("reset-failed", self.name, check=False)
        began = time.time()
        try:
            systemctl("restart", self.name)
        except ResourceError:
            raise failure(self.name, began, f"{self.name} does not start.") from None
        self.await_active()

    def await_active(self, timeout: float = 15) -> None:
        """Wait until the unit is active; one that systemd restarts again and again is not."""
        began = time.time()
        while not self.read().get("active"):
            if time.time() > began + timeout:
                raise failure(self.name, began, f"{self.name} does not stay up.")
            time.sleep(0.3)
