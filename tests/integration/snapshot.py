# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a test host: prints what the host has as JSON, by kind, each a mapping of name to what identifies it."""

import hashlib
import json
import os
import subprocess

ROOTS = ("/etc", "/home", "/opt", "/root", "/srv", "/usr/local", "/var/lib/misc", "/var/spool")
# a mount of the test bed; what ssh, apt and the linker keep for themselves
LEFT_OUT = (
    "/usr/local/lib/openshell-emulator", "/opt/llama-server", "/opt/tiny-agent", "/home/ops/.ansible", "/root/.ansible",
    "/etc/ld.so.cache", "/etc/systemd/system/multi-user.target.wants", "/etc/.pwd.lock", "/etc/.updated",
)  # fmt: skip


def lines(*argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    return [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()]


def table(*argv, separator=" "):
    return {line.split(separator)[0]: line for line in lines(*argv)}


def identity(path):
    info = os.lstat(path)
    if os.path.islink(path):
        content = os.readlink(path)
    elif os.path.isfile(path):
        with open(path, "rb") as stream:
            content = hashlib.sha256(stream.read()).hexdigest()
    else:
        content = ""
    return f"{info.st_mode:o} {info.st_uid}:{info.st_gid} {content}"


def files():
    found = {}
    for root in ROOTS:
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in LEFT_OUT]
            # the backups that account tools make of their own files end in "-"
            paths = [os.path.join(folder, name) for name in folders + names if not (folder == "/etc" and name.endswith("-"))]
            found.update({path: identity(path) for path in paths if path not in LEFT_OUT})
    return found


print(
    json.dumps(
        {
            "users": table("getent", "passwd", separator=":"),
            "groups": table("getent", "group", separator=":"),
            "units": table("systemctl", "list-unit-files", "--type=service,socket,timer,path,target,mount", "--no-legend", "--no-pager"),
            "services": table("systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager", "nemoclaw*", "openshell*"),
            "packages": table("dpkg-query", "-W", "-f", "${binary:Package} ${Version} ${db:Status-Status}\\n"),
            "containers": table("docker", "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}"),
            "images": table("docker", "image", "ls", "--all", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}}@{{.ID}}"),  # layers of a build have no name
            "networks": table("docker", "network", "ls", "--no-trunc", "--format", "{{.Name}} {{.Driver}}"),
            "volumes": table("docker", "volume", "ls", "--format", "{{.Name}}"),
            "files": files(),
        }
    )
)
