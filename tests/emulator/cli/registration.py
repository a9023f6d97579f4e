# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gateway registrations: plain files under the configuration directory, as the real command line keeps them."""

from __future__ import annotations

import json
import os

from ..errors import Failure

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def config_home():
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config"), "openshell")


def directory(name):
    return os.path.join(config_home(), "gateways", name)


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    for parent in (config_home(), os.path.dirname(path) if "gateways" in path else config_home()):
        os.chmod(parent, 0o700)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def system_home():
    return os.environ.get("OPENSHELL_SYSTEM_GATEWAY_DIR") or "/etc/openshell"


def metadata(name):
    """The registration's metadata; None when there is none of that name."""
    for home in (config_home(), system_home()):
        text = read(os.path.join(home, "gateways", name, "metadata.json"))
        if text is not None:
            return {**json.loads(text), "source": "user" if home == config_home() else "system"}
    return None


def all_metadata():
    names = set()
    for home in (config_home(), system_home()):
        try:
            names.update(os.listdir(os.path.join(home, "gateways")))
        except OSError:
            continue
    return [found for found in map(metadata, sorted(names)) if found]


def active():
    for home in (config_home(), system_home()):
        text = (read(os.path.join(home, "active_gateway")) or "").strip()
        if text:
            return text
    return None


def set_active(name):
    write(os.path.join(config_home(), "active_gateway"), name)


class Target:
    """The gateway a call goes to: name, URL, certificate files."""

    def __init__(self, name, endpoint):
        self.name, self.endpoint = name, endpoint
        self.certificates = os.path.join(directory(name), "mtls") if name else None


def target(args):
    """The gateway chosen by flags, environment or the active one; raises Failure where the real one does."""
    if args.gateway_endpoint:
        name = args.gateway or next((one["name"] for one in all_metadata() if one["gateway_endpoint"].rstrip("/") == args.gateway_endpoint.rstrip("/")), None)
        return Target(name, args.gateway_endpoint)
    name = args.gateway or active()
    if not name:
        raise Failure("No active gateway.\nSet one with: openshell gateway select <name>\nOr register one with: openshell gateway add <endpoint>")
    found = metadata(name)
    if not found:
        raise Failure(
            f"Unknown gateway '{name}'.\nRegister it first: openshell gateway add <endpoint> --name {name}\n"
            "Or list available gateways: openshell gateway select"
        )
    return Target(name, found["gateway_endpoint"])


# -- the last used sandbox ------------------------------------------------------------------------------------------------------------


def _last(gateway):
    return os.path.join(directory(gateway), "last_sandbox")


def remember_sandbox(gateway, workspace, name):
    if gateway:
        write(_last(gateway), f"{workspace}/{name}")


def forget_sandbox(gateway, workspace, name):
    if gateway and read(_last(gateway)) == f"{workspace}/{name}":
        os.unlink(_last(gateway))


def last_sandbox(gateway, workspace):
    found = (read(_last(gateway)) or "").strip() if gateway else ""
    return found.partition("/")[2] if found.startswith(workspace + "/") else None
