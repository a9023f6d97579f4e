# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base URL of an inference endpoint as OpenShell and agents want it, and how it is asked. Pure; private to the collection."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit, urlunsplit

DIRECT = {"no_proxy": "*"}  # C(proxies) of requests: those of the environment are not for the host itself, whatever no_proxy forgets
# What users paste after the base, longest first.
OPERATIONS = ("/chat/completions", "/completions", "/responses", "/messages", "/models")


def normalise(url: str) -> str:
    """C(http://h:8000) and C(http://h:8000/v1/chat/completions?x) -> C(http://h:8000/v1). Raises ValueError unless it is an HTTP URL."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an http:// or https:// URL")
    port = f":{parts.port}" if parts.port else ""  # .port raises ValueError on a number out of range
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    user = parts.netloc.rpartition("@")[0]
    path = parts.path.rstrip("/")
    for operation in OPERATIONS:
        if path.endswith(operation):
            path = path[: -len(operation)]
            break
    return urlunsplit((parts.scheme, f"{user}@{host}{port}" if user else f"{host}{port}", path or "/v1", "", ""))


def is_loopback(host: str) -> bool:
    """Whether a URL's host is the machine itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
