# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credential placeholders: what the workload sees instead of a secret, and where the proxy puts the secret in."""

from __future__ import annotations

import re

from . import policy

PREFIX = "openshell:resolve:env:"
PLACEHOLDER = re.compile(r"openshell:resolve:env:(?:v(\d+)_)?([A-Za-z_][A-Za-z0-9_]*)")


class Refused(Exception):
    """(HTTP status, reason phrase, error, detail) of the answer instead of the request's."""


class Credentials:
    """Every generation ever handed to this supervisor stays resolvable: a running process keeps its old placeholder and secret.

    A generation: {"revision": N, "secrets": {KEY: {"value", "endpoints": [endpoint, ...]}}}
    """

    def __init__(self):
        self.generations, self.latest, self.revoked = {}, None, False

    def update(self, generation):
        self.latest = str(generation["revision"])
        self.generations[self.latest] = generation["secrets"]
        self.revoked = False

    def revoke(self):
        self.revoked = True

    def environment(self):
        if self.revoked or self.latest is None:
            return {}
        return {key: f"{PREFIX}v{self.latest}_{key}" for key in self.generations[self.latest]}

    def fill(self, text, host, port, path):
        """`text` with the placeholders of secrets that are bound to this endpoint replaced; raises Refused otherwise."""

        def secret(match):
            revision, key = match.group(1) or self.latest, match.group(2)
            entry = None if self.revoked else self.generations.get(revision, {}).get(key)
            if entry is None:
                raise Refused(500, "Internal Server Error", "credential_injection_failed", "unresolved credential placeholder in request")
            if not any(
                policy.host_matches(endpoint.get("host", ""), host) and port in policy.ports(endpoint) and policy.path_matches(endpoint.get("path", "**"), path)
                for endpoint in entry["endpoints"]
            ):
                raise Refused(403, "Forbidden", "credential_endpoint_mismatch", "credential is not authorized for this request endpoint")
            return entry["value"]

        return PLACEHOLDER.sub(secret, text) if PREFIX in text else text


def redacted(text):
    return PLACEHOLDER.sub("[CREDENTIAL]", text)
