# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's certificate and key: files of the host that somebody else renews, or an own one, signed by itself. Private to the collection."""

from __future__ import annotations

import os
import socket
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.command import call
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

MONTH = 30 * 86400


def files(tls: dict[str, t.Any]) -> dict[str, str]:
    """C(server.crt) and C(server.key) of C({certificate, key, days}); texts are empty where they are not there, or an own one is to be renewed."""
    if not tls:
        return {}
    found = {}
    for name, path in (("server.crt", tls["certificate"]), ("server.key", tls["key"])):
        try:
            with open(path, encoding="utf-8") as stream:
                found[name] = stream.read()
        except FileNotFoundError:
            found[name] = ""
    return dict.fromkeys(found, "") if tls.get("days") and not _lasts(tls["certificate"]) else found


def _lasts(path: str) -> bool:
    try:
        call("openssl", "x509", "-noout", "-checkend", str(MONTH), "-in", path)
    except ResourceError:
        return False
    return True


def make(tls: dict[str, t.Any], addresses: t.Iterable[str]) -> None:
    """Have the files: an own certificate is made, for the host's names and these addresses; others must be there."""
    if all(files(tls).values()):
        return
    if not tls.get("days"):
        raise ResourceError(
            f"{tls['certificate']} or {tls['key']} is not there.", "Put the certificate and its key on the host, or set nemoclaw_proxy.tls.source: own."
        )
    names = {socket.gethostname(), socket.getfqdn(), "localhost"}
    subjects = [*(f"DNS:{name}" for name in sorted(names)), *(f"IP:{address}" for address in addresses)]
    mask = os.umask(0o077)
    try:
        call(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(tls["days"])),
            *("-subj", f"/CN={socket.gethostname()}", "-addext", f"subjectAltName={','.join(subjects)}", "-keyout", tls["key"], "-out", tls["certificate"]),
        )
    finally:
        os.umask(mask)
