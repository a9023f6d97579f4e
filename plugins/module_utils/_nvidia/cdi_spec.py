# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CDI specification of a host's GPUs, made by the NVIDIA Container Toolkit and made anew after a change of driver or GPUs. Private to the collection."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import daemon
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import systemctl
from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import cdi, gpus
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

# what the specification was last made from, by this collection
MARKER = "/var/lib/nemoclaw/cdi.json"
PATIENCE = 120


class CdiSpec(Resource):
    """C({name, path}): every GPU that nvidia-smi lists is a CDI device, of the driver that runs. C(path) is where one is made where the
    toolkit has no unit for it.

    A specification that somebody else made is taken as it is while it fits.
    """

    kind = "cdi"

    def __init__(self, desired: dict[str, t.Any], host: Host | None = None) -> None:
        super().__init__(desired)
        self.host = host or Host()

    def read(self) -> dict[str, t.Any]:
        marker = self.host.text(MARKER)
        found = gpus.read(self.host, 0)
        if found["status"] != "ok":
            raise ResourceError(f"The GPUs cannot be read: {found['detail']}.", found["remedy"])
        facts = cdi.read(self.host)
        specs = [spec for spec in facts["specs"] if spec["kind"] == cdi.KIND]
        state: dict[str, t.Any] = {
            "made": json.loads(marker) if marker else {},
            "ctk": facts["ctk"],
            "refresh": facts["refresh"],
            # two files of one directory must not name the same device
            "path": next((spec["path"] for spec in specs if os.path.dirname(spec["path"]) == os.path.dirname(self.desired["path"])), self.desired["path"]),
            "devices": sorted({name for spec in specs for name in spec["devices"]}),
            "names": cdi.names(found["gpus"]),
            "source": cdi.fingerprint(found),
            "fits": any(found["driver_version"] in self.host.text(spec["path"]) for spec in specs),
            "containers": {},
        }
        with contextlib.suppress(OSError, ValueError):
            state["containers"] = daemon.running()
        return state

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        changes = []
        if set(state["names"]) - set(state["devices"]):
            changes.append(self.change("devices", state["devices"], state["names"]))
        # without a record of ours, the libraries that a specification names tell its driver
        if state["made"] != state["source"] if state["made"] else not state["fits"]:
            changes.append(self.change("made from", state["made"] or None, state["source"]))
        return changes + (daemon.restarting(self, state["containers"]) if changes else [])

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if not state["ctk"]:
            raise ResourceError("nvidia-ctk is not on this host.", "Install the NVIDIA Container Toolkit, or say where it comes from (nemoclaw_toolkit).")
        daemon.put_off("restart")
        if state["refresh"]:
            systemctl("enable", "nvidia-cdi-refresh.path", cdi.REFRESH, check=False)
            systemctl("restart", cdi.REFRESH)
        else:
            os.makedirs(os.path.dirname(state["path"]), exist_ok=True)
            done = self.host.run((state["ctk"], "cdi", "generate", f"--output={state['path']}"), timeout=PATIENCE)[0]
            if done.rc != 0:
                said = done.output or f"no end within {PATIENCE} s"
                raise ResourceError(f"nvidia-ctk cannot make the CDI specification: {said[-500:]}.", "Run 'nvidia-ctk cdi generate' on the host and mend that.")
        now = self.read()
        if missing := set(now["names"]) - set(now["devices"]):
            raise ResourceError(f"The CDI specification lacks the devices {', '.join(sorted(missing))}.", "See 'nvidia-ctk cdi list' on the host.")
        daemon.replace(MARKER, json.dumps(now["source"]) + "\n")
