# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where this host's own package clients get their packages from: a fleet's mirrors are configured there already. Private to the collection."""

from __future__ import annotations

import os
import re
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

DEFAULT_PORTS = {"https": 443, "http": 80}
# by client: files (of a home directory with ~), what a line with a URL begins with, and variables of the environment
CLIENTS = {
    "pypi": (
        ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf"),
        r"(?:extra-)?index-url",
        ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
    ),
    "npm": (("/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc", "~/.npmrc"), r"(?:@[\w.-]+:)?registry", ("NPM_CONFIG_REGISTRY", "npm_config_registry")),
    "brew": (("/etc/homebrew/brew.env", "~/.homebrew/brew.env"), r"HOMEBREW_\w+_(?:DOMAIN|REMOTE)", ("HOMEBREW_API_DOMAIN", "HOMEBREW_BOTTLE_DOMAIN")),
}


def read(host: Host, homes: list[str]) -> dict[str, list[str]]:
    """C({pypi|npm|brew: [host or host:port]}) of the clients that are configured, nothing but names: a URL may hold a password."""
    found = {}
    for client, (files, key, variables) in CLIENTS.items():
        paths = [path.replace("~", home) for path in files for home in (filter(None, homes) if path.startswith("~") else [""])]
        texts = [value for path in paths for value in values(host.text(path), key)] + [os.environ.get(name, "") for name in variables]
        hosts = {name for text in texts for url in text.split() for name in [host_of(url)] if name}
        if hosts:
            found[client] = sorted(hosts)
    return found


def values(text: str, key: str) -> list[str]:
    """What a key is set to; C(index-url) of pip may go on in lines that are indented."""
    return [" ".join(value.split()) for value in re.findall(rf"^\s*{key}\s*=\s*(.*(?:\n[ \t]+\S+://\S+)*)", text, re.MULTILINE)]


def host_of(url: str) -> str:
    """Name and, where it is not the scheme's own, port of a URL; an empty string for one that no sandbox reaches."""
    try:
        parts = urllib.parse.urlsplit(url.strip("\"'"))
        name, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return ""
    if not port or not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) or name == "localhost" or name.startswith("127."):
        return ""
    return name if port == 443 else f"{name}:{port}"
