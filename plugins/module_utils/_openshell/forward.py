# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port of the host that leads into a sandbox, kept by a systemd unit. Private to the collection."""

from __future__ import annotations

import hashlib
import http.client
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import DIGEST, Unit
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.names import unit_name
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

# StartLimitIntervalSec=0: a stopped sandbox makes the forward end every two seconds, at the edge of the default limit, after which systemd would give up.
_UNIT = """\
[Unit]
Description=Port {port} to the sandbox {sandbox}
After={gateway}-gateway.service
Wants={gateway}-gateway.service
StartLimitIntervalSec=0

[Service]
User={owner}
Environment={digest_variable}={digest}
Environment=NO_COLOR=1 OPENSHELL_TELEMETRY_ENABLED=false
StandardInput=null
ExecStart={bin_dir}/openshell -g {gateway} forward service {sandbox} --target-port {target_port} --local {bind}:{port}
Restart=always
RestartSec=2
{directives}
[Install]
WantedBy=multi-user.target
"""


DIRECTIVES = "NoNewPrivileges=yes\n"


def unit_file(values: dict[str, t.Any]) -> str:
    """The unit, with the digest of itself, so that a change is seen in the running process too."""
    text = _UNIT.format(**values, digest_variable=DIGEST, digest="{digest}")
    return text.replace("{digest}", hashlib.sha256(text.encode()).hexdigest())


class Forward(Resource):
    """C({sandbox, port, target_port, bind, owner, gateway, bin_dir, directives, ready, timeout}): C(directives) are further lines of the unit's C([Service]),
    C(ready) is a path that must answer 200 through the port.
    """

    kind = "forward"

    def __init__(self, desired: dict[str, t.Any]) -> None:
        super().__init__(desired)
        more = {"target_port": desired.get("target_port") or desired["port"], "directives": desired.get("directives") or DIRECTIVES}
        content = "" if self.absent else unit_file({**desired, **more})
        self.unit = Unit({"name": unit_name(desired["gateway"], "forward", self.name), "content": content, "state": desired.get("state", "present")})

    @property
    def name(self) -> str:
        return f"{self.desired['sandbox']}-{self.desired['port']}"

    def read(self) -> dict[str, t.Any]:
        return self.unit.read()

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        return [change._replace(resource=f"{self.kind}/{self.name}") for change in self.unit.diff(state)]

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        self.unit.apply(state, changes)

    def answers(self, path: str) -> int:
        """HTTP status of the path through the port; 0 when nothing answers."""
        host = "127.0.0.1" if self.desired["bind"] in ("0.0.0.0", "::") else self.desired["bind"]
        connection = http.client.HTTPConnection(host, self.desired["port"], timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def await_ready(self) -> None:
        """Wait until C(ready) answers 200: the port is open long before the service behind it is."""
        path = self.desired.get("ready")
        timeout = self.desired.get("timeout") or 90
        progress, began = Progress(f"agent {self.desired['sandbox']}"), time.monotonic()
        status = 0
        while path and (status := self.answers(path)) != 200:
            progress.waited("has not started yet", began, timeout)
            if time.monotonic() > began + timeout:
                raise ResourceError(
                    f"{path} does not answer on port {self.desired['port']} within {timeout} s (HTTP status {status or 'none'}).",
                    f"See `journalctl -u {unit_name(self.desired['gateway'], 'agent', self.desired['sandbox'])}` and `journalctl -u {self.unit.name}`.",
                )
            time.sleep(0.5)
