# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway remembers: documents by kind and key in one SQLite file, credentials encrypted with a key kept beside the state."""

from __future__ import annotations

import json
import os
import sqlite3
import threading

from cryptography.fernet import Fernet

from ..errors import Failure


class Store:
    """Documents (dicts) by kind and key, in the order they were made. Thread-safe; every write is on disk when it returns."""

    def __init__(self, path):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        self.lock = threading.RLock()
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            os.chmod(path, 0o600)
        except PermissionError:
            raise Failure(f"execution error: database error: failed to set permissions on {path}") from None
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS document (serial INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, key TEXT, body TEXT, UNIQUE (kind, key))")

    def get(self, kind, key):
        with self.lock:
            row = self.db.execute("SELECT body FROM document WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, kind, key, body):
        with self.lock:
            self.db.execute(
                "INSERT INTO document (kind, key, body) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
                (kind, key, json.dumps(body)),
            )

    def delete(self, kind, key):
        with self.lock:
            return self.db.execute("DELETE FROM document WHERE kind = ? AND key = ?", (kind, key)).rowcount > 0

    def all(self, kind):
        with self.lock:
            return [json.loads(row[0]) for row in self.db.execute("SELECT body FROM document WHERE kind = ? ORDER BY serial", (kind,))]


class Vault:
    """Encrypts credential values with a key file that only the gateway's user may read."""

    def __init__(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(Fernet.generate_key())
        with open(path, "rb") as file:
            self.key = Fernet(file.read())

    def seal(self, text):
        return self.key.encrypt(text.encode()).decode()

    def open(self, sealed):
        return self.key.decrypt(sealed.encode()).decode()
