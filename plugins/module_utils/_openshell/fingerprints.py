# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be read back from the gateway (the values of credentials) is compared by a keyed fingerprint kept on the host. Private to the collection.

The fingerprint is an HMAC-SHA256 whose key is made once a host and readable by the owner only: it says that a value changed, nothing about the value.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import owned

if t.TYPE_CHECKING:
    import pwd


class Fingerprints:
    """The records of one gateway under C(~/.nemoclaw/fingerprints/): one JSON object, a record for each resource name."""

    def __init__(self, account: pwd.struct_passwd, gateway: str) -> None:
        self._account = account
        folder = os.path.join(account.pw_dir, ".nemoclaw", "fingerprints")
        self._key_path = os.path.join(folder, "key")
        self._path = os.path.join(folder, f"{gateway}.json")

    def _key(self) -> bytes:
        key = owned.read(self._key_path)
        if key is None:
            key = secrets.token_bytes(32)
            owned.write(self._key_path, key, self._account)
        return key

    def of(self, value: t.Any) -> str:
        """The fingerprint of a JSON value; an empty text while the host has no key (nothing was ever recorded)."""
        key = owned.read(self._key_path)
        return hmac.new(key, json.dumps(value, sort_keys=True).encode(), hashlib.sha256).hexdigest() if key else ""

    def records(self) -> dict[str, t.Any]:
        try:
            return json.loads(owned.read(self._path) or b"{}")
        except ValueError:
            return {}

    def record(self, name: str, value: t.Any | None, **plain: t.Any) -> None:
        """Keep the fingerprint of C(value) and the plain facts beside it; C(None) forgets the record."""
        records = self.records()
        if records.pop(name, None) is None and value is None:  # a removal makes no files
            return
        if value is not None:
            self._key()
            records[name] = {"fingerprint": self.of(value), **plain}
        owned.write(self._path, json.dumps(records, indent=1, sort_keys=True) + "\n", self._account)
