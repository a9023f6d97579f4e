# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateways that run from one directory of programs: stopped, started, their state copied and put back. Private to the collection.

They are found by their units, whoever made them, since a program is shared by all of them.
"""

from __future__ import annotations

import contextlib
import glob
import http.client
import json
import os
import pwd
import re
import shlex
import subprocess
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import units
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.names import unit_name
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

GATEWAY = "openshell-gateway"
PAGE = "1000"  # the gateway's own limit
CRASHES = 3  # restarts by systemd after which a gateway is given up


class NotReady(Exception):
    """A gateway did not come up as it should."""


class Service:
    """The unit C(NAME-gateway.service), read from its file."""

    def __init__(self, path: str) -> None:
        self.unit = os.path.basename(path)
        self.name = self.unit.partition(unit_name("", "gateway"))[0]
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = [line.strip().partition("=") for line in stream]
        self.command = next((shlex.split(value) for key, _equal, value in lines if key == "ExecStart"), [])
        self.owner = next((value for key, _equal, value in lines if key == "User"), "root")
        environment = [word for key, _equal, value in lines if key == "Environment" for word in shlex.split(value)]
        self.environment = dict(word.partition("=")[::2] for word in environment)

    @classmethod
    def all(cls, bin_dir: str) -> list[Service]:
        """Every gateway that runs from the directory."""
        found = []
        for path in sorted(glob.glob(os.path.join(units.UNIT_DIR, f"*{unit_name('', 'gateway')}"))):
            with contextlib.suppress(FileNotFoundError):  # offboarded since it was listed
                found.append(cls(path))
        return [service for service in found if service.command[:1] == [os.path.join(bin_dir, GATEWAY)]]

    def _option(self, name: str) -> str:
        return self.command[self.command.index(name) + 1] if name in self.command[:-1] else ""

    # --- what runs ---

    @property
    def dependents(self) -> list[str]:
        """Agents and forwards: stopped with it, for systemd starts it for their sake when it starts them again."""
        patterns = [unit_name(self.name, kind, "*") for kind in ("agent", "forward")]
        listed = units.systemctl("list-units", "--plain", "--no-legend", "--no-pager", "--state=active,activating", *patterns)
        return [line.split()[0] for line in listed.splitlines() if line.strip()]

    def is_started(self) -> bool:
        return units.systemctl("show", "-p", "ActiveState", "--value", self.unit).strip() not in ("inactive", "failed")

    def stop(self, dependents: t.Sequence[str]) -> None:
        for names in (dependents, [self.unit]):
            if names:
                units.systemctl("stop", *names)

    def start(self, dependents: t.Sequence[str] = ()) -> None:
        for name in (self.unit, *dependents):
            units.systemctl("reset-failed", name, check=False)
            units.systemctl("start", name, check=False)  # whether it stays up is seen afterwards

    def version(self) -> str:
        """The version that runs and says that it is ready; empty when none does."""
        address = self._health()
        if not address:
            return ""
        connection = http.client.HTTPConnection(address, timeout=5)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return str(json.loads(answer.read()).get("version", "")) if answer.status == 200 else ""
        except (OSError, ValueError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def is_ready(self, patience: float = 5) -> bool:
        """Whether it is ready, or is within a moment: it may just have been started."""
        deadline = time.monotonic() + patience
        while not self.version():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
        return True

    def _health(self) -> str:
        try:
            with open(self._option("--config"), encoding="utf-8") as stream:
                found = re.search(r'^health_bind_address\s*=\s*"([^"]+)"', stream.read(), re.MULTILINE)
        except OSError:
            return ""
        return found.group(1) if found else ""

    def sandboxes(self, bin_dir: str) -> list[str]:
        """Names of the sandboxes that are ready; none when the gateway does not answer."""
        try:
            found = OpenShell(self.owner, self.name, bin_dir).json("sandbox", "list", "--limit", PAGE, timeout=20)
        except (ResourceError, OSError):
            return []
        return sorted(entry["name"] for entry in found if entry.get("phase") == "Ready")

    def await_ready(self, version: str, sandboxes: t.Sequence[str], bin_dir: str, timeout: float) -> None:
        """Wait until this version (any, when empty) is ready and has the sandboxes ready; C(NotReady) when it does not get there."""
        deadline = time.monotonic() + timeout
        while True:
            running = self.version()
            right = bool(running) and version in ("", running)
            missing = sorted(set(sandboxes) - set(self.sandboxes(bin_dir))) if right else []
            if right and not missing:
                return
            state = units.properties(self.unit, "ActiveState", "NRestarts")
            if state.get("ActiveState") == "failed" or int(state.get("NRestarts") or 0) >= CRASHES:
                raise NotReady(f"{self.unit} ends again and again")
            if time.monotonic() > deadline:
                what = f"has not brought back {', '.join(missing)}" if missing else f"runs {running}" if running else "is not ready"
                raise NotReady(f"{self.unit} {what} after {timeout:.0f} s")
            time.sleep(0.3)

    # --- what it keeps ---

    @property
    def _database(self) -> str:
        found = re.match(r"sqlite:(?://)?([^?]+)", self._option("--db-url"))
        return found.group(1) if found else ""

    @property
    def _credentials(self) -> str:
        """The directory of the key that the credentials in the database are encrypted with."""
        return os.path.join(self.environment.get("XDG_STATE_HOME", ""), "openshell", "gateway", "credentials")

    @property
    def backups(self) -> str:
        return os.path.join(os.path.dirname(self._database), "backups")

    def _as_owner(self, *argv: str) -> None:
        """Run a command with the owner's rights: what lies in its directories is the owner's to decide, links too."""
        account = pwd.getpwnam(self.owner)
        rights = {} if os.geteuid() == account.pw_uid else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # run_command knows no other user
            argv, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", umask=0o077, cwd="/", check=False, **rights
        )
        if done.returncode:
            raise ResourceError(f"{' '.join(argv[:2])}: {done.stderr.strip()}.", f"Free space in {os.path.dirname(self._database)}, or see its rights.")

    def backup(self, name: str, keep: int) -> str:
        """Copy the database and the key of a stopped gateway into a directory of that name; the oldest ones beyond C(keep) go. Returns the directory."""
        if not os.path.isfile(self._database):
            return ""
        target = os.path.join(self.backups, name)
        kept = [path for path in (*sorted(glob.glob(f"{glob.escape(self._database)}*")), self._credentials) if os.path.exists(path)]
        self._as_owner("rm", "--recursive", "--force", target)  # half of one, of a run that was interrupted
        self._as_owner("mkdir", "--parents", target)
        self._as_owner("cp", "--archive", *kept, target)
        older = sorted(set(glob.glob(os.path.join(glob.escape(self.backups), "*"))) - {target}, reverse=True)[keep - 1 :]
        if older:
            self._as_owner("rm", "--recursive", "--force", *older)
        os.sync()
        return target

    def restore(self, source: str) -> None:
        """Put a copy back under a stopped gateway."""
        kept = sorted(glob.glob(os.path.join(glob.escape(source), f"{os.path.basename(self._database)}*")))
        self._as_owner("rm", "--force", *glob.glob(f"{glob.escape(self._database)}*"))
        self._as_owner("cp", "--archive", *kept, os.path.dirname(self._database))
        credentials = os.path.join(source, os.path.basename(self._credentials))
        if os.path.isdir(credentials):
            self._as_owner("rm", "--recursive", "--force", self._credentials)
            self._as_owner("cp", "--archive", credentials, os.path.dirname(self._credentials))
        os.sync()
