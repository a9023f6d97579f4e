# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks, what the gateway is, and its workspaces (only the default one: others are not recorded)."""

from __future__ import annotations

from .. import VERSION
from .core import call, stamp


@call("status")
def status(_gateway, args):
    return {"version": VERSION, "subject": args["peer"]}


@call("whoami")
def whoami(_gateway, args):
    return {"subject": args["peer"], "display_name": args["peer"], "roles": ["openshell-user"], "scopes": [], "identity_provider": "mtls"}


@call("info")
def info(gateway, _args):
    driver = {"driver_name": "docker", "driver_version": gateway.driver.version()}
    return {"version": VERSION, "status": "healthy", "compute_drivers": [{"name": "docker", "capabilities": driver}]}


@call("workspace.list")
def list_workspaces(gateway, _args):
    return [
        {
            "name": one["name"],
            "id": one["id"],
            "resource_version": one["resource_version"],
            "created_at": stamp(one["created_ms"]),
            "status": "Active",
        }
        for one in gateway.store.all("workspace")
    ]
