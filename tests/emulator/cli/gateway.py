# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`gateway …`, `status`, `whoami`, `doctor`: registrations and the gateway's state."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.parse

from ..errors import Failure, NotRecorded
from . import registration, render
from .client import Client, Unreachable
from .output import shown

PROVIDER = "mTLS transport"


def _registered(name):
    found = registration.metadata(name)
    return found if found else None


# -- registrations --------------------------------------------------------------------------------------------------------------------


def gateway_add(context):
    args = context.args
    endpoint = args.endpoint if "://" in args.endpoint else f"https://{args.endpoint}"
    if args.remote or args.oidc_issuer:
        raise NotRecorded("gateway add --remote or --oidc-issuer")
    host = urllib.parse.urlsplit(endpoint).hostname or ""
    name = args.name or ("openshell" if host in ("127.0.0.1", "localhost", "::1") else host)
    if (registration.metadata(name) or {}).get("source") == "user":
        raise Failure(
            f"Gateway '{name}' already exists.\nRemove it first with: openshell gateway remove {name}\nOr choose a different name with: --name <name>"
        )
    plain = endpoint.startswith("http://")
    local = bool(args.local)
    if local and not plain:
        _import_bundle(name, endpoint)
    kind = "local" if local or plain else "cloud"
    auth = "plaintext" if plain else "mtls" if local else "cloudflare_jwt"
    _write_metadata(name, endpoint, kind == "cloud", auth)
    registration.set_active(name)
    render.done_aside(f"Gateway '{name}' added and set as active")
    for label, value in (("Endpoint", endpoint), ("Type", kind)):
        print(render.field(label, value), file=sys.stderr)
    if auth == "mtls":
        render.done_aside("TLS certificates present")
        _warn_if_unreachable(name, endpoint)
    if kind == "cloud":
        if os.environ.get("OPENSHELL_NO_BROWSER") != "1":
            raise NotRecorded("gateway add of a cloud gateway with a browser")
        print(file=sys.stderr)
        render.warn("Authentication failed: authentication skipped (OPENSHELL_NO_BROWSER is set).", sys.stderr)
        print("Authenticate later with: openshell gateway login", file=sys.stderr)


def _warn_if_unreachable(name, endpoint):
    try:
        Client(registration.Target(name, endpoint)).connect().close()
    except (Unreachable, Failure):
        render.warn(f"Gateway is not reachable at {endpoint}", sys.stderr)


def _import_bundle(name, endpoint):
    home = os.path.join(registration.directory(name), "mtls")
    if all(os.path.exists(os.path.join(home, file)) for file in ("ca.crt", "tls.crt", "tls.key")):
        return
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    source = os.environ.get("OPENSHELL_LOCAL_TLS_DIR") or os.path.join(state, "openshell", "tls")
    files = {"ca.crt": "ca.crt", "client/tls.crt": "tls.crt", "client/tls.key": "tls.key"}
    if not all(os.path.exists(os.path.join(source, file)) for file in files):
        raise Failure(
            f"mTLS certificates for gateway '{name}' were not found.\nExpected them under the default gateway config directory.\n"
            "Start the gateway package first so it provisions client TLS material, then\n"
            f"retry: openshell gateway add {endpoint} --local"
        )
    os.makedirs(home, mode=0o700, exist_ok=True)
    for file, to in files.items():
        shutil.copyfile(os.path.join(source, file), os.path.join(home, to))
        os.chmod(os.path.join(home, to), 0o600 if to == "tls.key" else 0o644)


def _write_metadata(name, endpoint, is_remote, auth):
    flag = "true" if is_remote else "false"
    registration.write(
        os.path.join(registration.directory(name), "metadata.json"),
        f'{{\n  "name": "{name}",\n  "gateway_endpoint": "{endpoint}",\n  "is_remote": {flag},\n  "gateway_port": 0,\n  "auth_mode": "{auth}"\n}}',
    )


def gateway_remove(context):
    name = context.args.name or registration.active()
    if not name or not registration.metadata(name):
        raise Failure(f"No gateway metadata found for '{name}'.\nList available gateways: openshell gateway select")
    shutil.rmtree(registration.directory(name), ignore_errors=True)
    if registration.active() == name:
        os.unlink(os.path.join(registration.config_home(), "active_gateway"))
        left = registration.all_metadata()
        if left:
            registration.set_active(left[0]["name"])
    render.done_aside(f"Gateway registration '{name}' removed.")


def gateway_select(context):
    name = context.args.name
    if not name:
        return gateway_list(context)
    if not registration.metadata(name):
        raise Failure(
            f"No gateway metadata found for '{name}'.\nRegister it first with: openshell gateway add <endpoint> --name {name}\n"
            "Or list available gateways: openshell gateway select"
        )
    registration.set_active(name)
    render.done_aside(f"Active gateway set to '{name}'")
    return None


def gateway_list(context):
    active = context.args.gateway or registration.active()
    found = [
        {
            "name": one["name"],
            "endpoint": one["gateway_endpoint"],
            "type": "cloud" if one.get("auth_mode") == "cloudflare_jwt" else "remote" if one.get("is_remote") else "local",
            "source": one["source"],
            "auth": one.get("auth_mode") or "mtls",
            "active": one["name"] == active,
            "is_remote": one.get("is_remote", False),
            "remote_host": one.get("remote_host"),
            "resolved_host": one.get("resolved_host"),
        }
        for one in registration.all_metadata()
    ]
    if shown(getattr(context.args, "output", None), found):
        return
    if not found:
        print(f"No gateways found.\n\nRegister a gateway with: {render.dim('openshell gateway add <endpoint>')}")
        return
    columns = ("name", "endpoint", "type", "source", "auth")
    widths = [max(len(name), *(len(one[name]) for one in found)) for name in columns]

    def cells(values):
        return [value.ljust(width) if i < len(columns) - 1 else value for i, (value, width) in enumerate(zip(values, widths))]

    print("  " + "  ".join(render.bold(cell) for cell in cells([name.upper() for name in columns])))
    for one in found:
        line = "  ".join(cells([one[name] for name in columns]))
        print(render.green(f"* {line}") if one["active"] else f"  {line}")


def gateway_info(context):
    name = context.args.gateway or registration.active()
    if not name and not context.args.gateway_endpoint:
        raise Failure("No gateway configured.\nRegister a gateway with: openshell gateway add <endpoint>")
    target = context.target
    info = context.call("info")
    data = {
        "gateway": target.name,
        "server": target.endpoint,
        "auth": None,
        "status": info["status"],
        "version": info["version"],
        "compute_drivers": info["compute_drivers"],
    }
    if shown(context.args.output, data):
        return
    render.block("Gateway Info", [("Gateway", target.name), ("Server", target.endpoint), ("Status", info["status"]), ("Version", info["version"])])
    print(f"  {render.dim('Compute drivers:')}")
    for driver in info["compute_drivers"]:
        print(f"    {driver['name']}")
        print("    " + render.field("Driver version", driver["capabilities"]["driver_version"]))


# -- state ----------------------------------------------------------------------------------------------------------------------------


def status(context):
    args = context.args
    name = args.gateway or registration.active()
    if not args.gateway_endpoint and (not name or not registration.metadata(name)):
        if not shown(args.output, {"status": "not_configured"}):
            print(render.heading("Gateway Status") + "\n")
            print(render.field("Status", "No gateway configured."))
            print(f"\nRegister a gateway with: {render.dim('openshell gateway add <endpoint>')}")
        return
    target = context.target
    client = context.client
    try:
        client.connect().close()
    except Unreachable as error:
        raise Failure("client error (Connect)", *error.causes) from None
    version = client.call("status")["version"]
    data = {
        "gateway": target.name,
        "server": target.endpoint,
        "status": "connected",
        "authentication": {"status": "authenticated", "provider": PROVIDER},
        "version": version,
    }
    if not client.context:
        raise NotRecorded("status of a plaintext gateway")
    if shown(args.output, data):
        return
    render.block(
        "Server Status",
        [
            ("Gateway", target.name),
            ("Server", target.endpoint),
            ("Status", render.green("Connected")),
            ("Authentication", f"{render.green('Authenticated')} ({PROVIDER})"),
            ("Version", version),
        ],
    )


def whoami(context):
    me = context.call("whoami")
    if shown(context.args.output, me):
        return
    render.block(
        "Current User",
        [
            ("Subject", me["subject"]),
            ("Name", me["display_name"]),
            ("Provider", me["identity_provider"]),
            ("Roles", ", ".join(me["roles"])),
            ("Scopes", ", ".join(me["scopes"])),
        ],
    )


def doctor_check(_context):
    print("Checking system prerequisites...\n")
    done = subprocess.run(["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRecorded("doctor check without a Docker engine")
    print(f"  Docker ............. ok (version {done.stdout.strip()})")
    host = os.environ.get("DOCKER_HOST")
    print(f"  DOCKER_HOST ........ {host if host else '(not set, using default socket)'}")
    print("\nAll checks passed.")


def workspace_list(context):
    found = context.call("workspace.list")
    if not shown(context.args.output, found):
        raise NotRecorded("workspace list as a table")
