# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one list of what is out of the emulator's reach. Recorded steps it names are run, but neither passed nor failed: they are skipped."""

from __future__ import annotations

import re
import subprocess

from .supervisor import landlock

# What the real supervisor enforces and the emulator does not; no recorded step shows it.
NOT_ENFORCED = {
    "seccomp": "system calls are not filtered: raw and netlink sockets, mount, ptrace among the workload's own processes",
    "program digests": "a program is known by its path and its ancestors; the digest the real one keeps from first use is not",
    "protocols": "websocket, graphql, sql, json-rpc and mcp endpoints are held to method and path, as rest ones; the messages within are not read",
    "signing": "credential_signing and the rewriting of request bodies are not done",
}


def _no_landlock():
    return not landlock.available()


# (call, condition, reason): a pattern on the words of a call, and where it is out of reach.
BEYOND = [
    (r"sandbox exec .*/dev/(zero|full|tty|random)\b", _no_landlock, "this machine's kernel has no Landlock, so devices cannot be hidden"),
    (
        r"sandbox exec .*\b(ls|find|cat|touch) /( |$|opt|srv|mnt|home|var/tmp)",
        _no_landlock,
        "this machine's kernel has no Landlock, so paths cannot be hidden",
    ),
]


def beyond(step):
    """Why the emulator cannot be held to this step; None when it can."""
    words = " ".join(step["argv"])
    return next((reason for pattern, applies, reason in BEYOND if re.search(pattern, words) and applies()), None)


def lacks(header):
    """What this machine must have for a scenario and has not; None when it can be replayed, by the real programs too."""
    if header.get("needs") != "cdi":
        return None
    shown = subprocess.run(["docker", "info", "--format", "{{json .CDISpecDirs}}"], capture_output=True, text=True, check=False).stdout
    return "this machine's engine has no CDI devices" if shown.strip() in ("", "null", "[]") else None
