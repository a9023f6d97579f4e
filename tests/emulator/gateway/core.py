# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's middle: state, engine and live sessions, and the registry of the calls it answers."""

from __future__ import annotations

import collections
import datetime
import os
import threading
import time
import uuid

from ..errors import missing
from . import certs
from .state import Store, Vault

CALLS = {}
LOG_LINES = 2000


def call(name):
    """Registers a function `(gateway, arguments) → answer` under a name the command line asks for."""

    def register(function):
        CALLS[name] = function
        return function

    return register


def now_ms():
    return int(time.time() * 1000)


def stamp(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


class Gateway:
    def __init__(self, driver, database, state_dir, name="openshell"):
        self.driver, self.name = driver, name
        self.store = Store(database)
        self.vault = Vault(os.path.join(state_dir, "credentials", "key-encryption-key.bin"))
        self.lock = threading.RLock()
        self.sessions = {}  # sandbox id → Session
        self.busy = set()  # ids whose container is being made, stopped or removed
        self.logs = collections.defaultdict(lambda: collections.deque(maxlen=LOG_LINES))
        self.closing = threading.Event()
        self.signer = None  # whose tokens are good
        self.ca_key, self.ca = self._proxy_authority()
        self.signed = {}
        if not self.store.get("workspace", "default"):
            self.store.put("workspace", "default", {"name": "default", "id": str(uuid.uuid4()), "resource_version": 1, "created_ms": now_ms()})

    def _proxy_authority(self):
        kept = self.store.get("authority", "proxy")
        if not kept:
            key, certificate = certs.authority("OpenShell Sandbox CA")
            kept = {"key": self.vault.seal(certs.pem(key).decode()), "certificate": certs.pem(certificate).decode()}
            self.store.put("authority", "proxy", kept)
        return certs.load_authority(kept["certificate"].encode(), self.vault.open(kept["key"]).encode())

    def ca_pem(self):
        return certs.pem(self.ca).decode()

    def sign(self, host):
        """PEM of a certificate for `host` and its key, by the CA that sandboxes trust."""
        if host not in self.signed:
            key, certificate = certs.leaf(self.ca_key, self.ca, host, [host])
            self.signed[host] = (certs.pem(certificate) + certs.pem(key)).decode()
        return self.signed[host]

    # -- sandboxes ----------------------------------------------------------------------------------------------------------------

    def sandboxes(self):
        return self.store.all("sandbox")

    def sandbox(self, name, workspace="default"):
        found = next((one for one in self.sandboxes() if one["name"] == name and one["workspace"] == workspace), None)
        if found is None:
            raise missing("sandbox not found")
        return found

    def by_id(self, sandbox_id):
        return self.store.get("sandbox", sandbox_id)

    def save(self, sandbox):
        sandbox["resource_version"] += 1
        self.store.put("sandbox", sandbox["id"], sandbox)

    def change(self, sandbox_id, **fields):
        """Sets fields of a sandbox as it is now; None when it is gone."""
        with self.lock:
            sandbox = self.by_id(sandbox_id)
            if sandbox:
                sandbox.update(fields)
                self.save(sandbox)
            return sandbox

    def log(self, sandbox_id, target, text, level="INFO", source="gateway", at=None):
        self.logs[sandbox_id].append({"at": at or time.time(), "source": source, "level": level, "target": target, "text": text})

    # -- settings -----------------------------------------------------------------------------------------------------------------

    def global_settings(self):
        return self.store.get("settings", "global") or {"values": {}, "revision": 0}

    def global_policy(self):
        """The newest revision of the global policy while one is set, else None."""
        kept = self.store.get("policy", "global")
        return kept["revisions"][-1] if kept and kept["active"] else None
