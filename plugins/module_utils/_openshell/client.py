# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that runs the C(openshell) program. Private to the collection.

Every call: an argument list (no shell), stdin closed or given, an environment of its own, a time limit, the owner's privileges. Secrets travel in the
environment only (C(env)), never in the arguments, which appear in error messages.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import text
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

BIN_DIR = "/usr/local/bin"
RETRY_KINDS = ("aborted", "unavailable")
RETRIES = 4


class OpenShellError(ResourceError):
    """A call failed. C(kind) is the class of the failure (see C(text.classify)), C(rc) the exit status (None, ran out of time)."""

    def __init__(self, kind: str, message: str, rc: int | None, argv: t.Sequence[str]) -> None:
        super().__init__(f"openshell {' '.join(argv[:3])}: {message}", text.REMEDIES.get(kind, ""))
        self.kind, self.rc, self.argv = kind, rc, list(argv)


class Output(t.NamedTuple):
    """What a call gave: exit status, stdout, stderr."""

    rc: int
    stdout: str
    stderr: str


class OpenShell:
    """C(openshell) as its owner. C(gateway) is put in front of every call that needs one; C(run) exists for tests."""

    def __init__(self, owner: str, gateway: str = "", bin_dir: str = BIN_DIR, run: t.Callable[..., t.Any] = subprocess.run) -> None:
        self.gateway = gateway
        self.program = os.path.join(bin_dir, "openshell")
        self.owner = owner
        self._run = run

    def without_gateway(self) -> OpenShell:
        """The same program and owner, for calls that are about no gateway in particular."""
        return OpenShell(self.owner, "", os.path.dirname(self.program), self._run)

    def of_user(self, user: str) -> OpenShell:
        """The same program and gateway, called by another user."""
        return OpenShell(user, self.gateway, os.path.dirname(self.program), self._run)

    @property
    def account(self) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(self.owner)
        except KeyError:
            raise ResourceError(f"The user {self.owner} does not exist.", "Run the role nemoclaw.fleet.gateway, or set nemoclaw_user.") from None

    @property
    def home(self) -> str:
        return self.account.pw_dir

    @property
    def installed(self) -> bool:
        """Whether calls are possible at all: the program and its owner exist."""
        try:
            return bool(self.home) and os.access(self.program, os.X_OK)
        except ResourceError:
            return False

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{os.path.dirname(self.program)}:/usr/local/bin:/usr/bin:/bin",
            "HOME": self.home,
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
            "OPENSHELL_NO_BROWSER": "1",
            "OPENSHELL_TELEMETRY_ENABLED": "false",
        }

    def _privileges(self) -> dict[str, t.Any]:
        account = self.account
        if os.geteuid() == account.pw_uid:
            return {}
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": os.getgrouplist(account.pw_name, account.pw_gid)}

    def call(
        self, *args: str, env: dict[str, str] | None = None, stdin: str | None = None, timeout: float = 60, check: bool = True, retry: bool = True
    ) -> Output:
        """Run C(openshell [-g GATEWAY] ARGS). Without C(check) a failing exit status is returned, not raised; running out of time always raises.

        C(retry) repeats what the gateway aborted or could not take now; switch it off for calls that are not idempotent (create, exec).
        """
        if not os.access(self.program, os.X_OK):
            raise ResourceError(f"{self.program} is not installed.", "Run the role nemoclaw.fleet.gateway, or set nemoclaw_openshell.")
        argv = [self.program, *(["-g", self.gateway] if self.gateway else []), *args]
        given: dict[str, t.Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        for attempt in range(RETRIES if retry else 1):
            if attempt:
                time.sleep(0.5 * attempt)
            try:
                done = self._run(  # pylint: disable=ansible-bad-function  # run_command has no time limit
                    argv,
                    env={**self._environment(), **(env or {})},
                    cwd="/",
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                    timeout=timeout,
                    check=False,
                    **given,
                    **self._privileges(),
                )
            except subprocess.TimeoutExpired:
                raise OpenShellError("timeout", f"no answer within {timeout:.0f} s", None, args) from None
            output = Output(done.returncode, done.stdout, done.stderr)
            if output.rc == 0 or text.classify(text.unwrap(output.stderr)) not in RETRY_KINDS:
                break
        if check and output.rc != 0:
            message = text.unwrap(output.stderr or output.stdout)
            raise OpenShellError(text.classify(message), text.server_message(message), output.rc, args)
        return output

    def json(self, *args: str, timeout: float = 60) -> t.Any:
        """The parsed answer of a call with C(-o json)."""
        output = self.call(*args, "-o", "json", timeout=timeout)
        try:
            return json.loads(output.stdout)
        except ValueError:
            raise OpenShellError("other", f"the answer is not JSON: {output.stdout[:200]!r}", output.rc, args) from None

    def find(self, *args: str) -> t.Any:
        """Like C(json), but None where the object does not exist."""
        try:
            return self.json(*args)
        except OpenShellError as error:
            if error.kind == "not_found":
                return None
            raise

    def version(self) -> str:
        """The command line's version, as C(0.0.106)."""
        output = self.without_gateway().call("--version", timeout=20)
        return output.stdout.split()[-1]

    def connected(self) -> bool:
        """Whether the gateway answers this user."""
        try:
            status = self.json("status", timeout=20)
        except OpenShellError:
            return False
        return status.get("status") == "connected" and status.get("authentication", {}).get("status") in ("authenticated", "not_required")
