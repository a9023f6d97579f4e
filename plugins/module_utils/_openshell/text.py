# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts of C(openshell): colours dropped, wrapped errors joined, the failure classified. Pure functions.

Errors are drawn by miette and wrapped at 80 columns, so a phrase can be split anywhere, also after C(-) and C(/).
"""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FRAME = re.compile(r"^\s*(?:Error:\s+)?(?:[×│]|├─▶|╰─▶)?\s?")

# First match wins. The texts are those of the server's messages and of the client, recorded on 0.0.106.
_KINDS: tuple[tuple[str, str], ...] = (
    ("no_gateway", r"No active gateway|No gateway configured"),
    ("unknown_gateway", r"Unknown gateway|No gateway metadata found"),
    ("database", r"database error"),
    ("pki", r"partial PKI state|certificate PEM|TLS error: no |signing key PEM|JWT kid file"),
    ("certificates", r"failed to read TLS|mTLS certificates for gateway .* were not found|invalid peer certificate|certificate"),
    ("unreachable", r"tcp connect error|failed to connect to gateway|Connection refused|transport error|client error \(Connect\)"),
    ("already_exists", r"already exists"),
    ("not_found", r"Some requested entity was not found|not found in workspace|not found"),
    ("invalid", r"Client specified an invalid argument|failed to parse|exceeds maximum length|must contain only"),
    ("not_ready", r"is not ready \(phase|sandbox is not ready"),
    ("precondition", r"not in a state required"),
    ("aborted", r"The operation was aborted|was modified by another operation|name changed while"),
    ("denied", r"does not have permission|does not have valid authentication"),
    ("unavailable", r"service is currently unavailable"),
    ("version", r"not implemented or not supported"),
    ("usage", r"^error: "),
)

REMEDIES = {
    "no_gateway": "Register the gateway first: run the role nemoclaw.fleet.gateway.",
    "unknown_gateway": "Register the gateway first: run the role nemoclaw.fleet.gateway.",
    "unreachable": "See the gateway's unit (`systemctl status nemoclaw-gateway`, `journalctl -u nemoclaw-gateway`), start it, and run again.",
    "database": "Give the gateway's owner its database back (`ls -l`; `chown`, `chmod`; is the disk full, or the file system read-only?), and run again.",
    "pki": "A certificate or key of the gateway is damaged: put a copy of that directory back, and run again. Its jwt/ must be the old one.",
    "certificates": "The gateway's certificates and the registration do not fit; run the role nemoclaw.fleet.gateway to renew the registration.",
    "aborted": "Something else changed the object at the same time; run again.",
    "denied": "The client certificate of this user is not accepted by the gateway; run the role nemoclaw.fleet.gateway.",
    "unavailable": "The gateway is starting or overloaded; run again.",
    "version": "The command line and the gateway have different versions; install the same one.",
}


def strip_ansi(text: str) -> str:
    return _ANSI.sub("", text)


def unwrap(text: str) -> str:
    """An error as one line of words, as if it had never been wrapped."""
    joined = ""
    for line in strip_ansi(text).splitlines():
        line = _FRAME.sub("", line).strip()
        if line:
            joined += line if not joined or joined.endswith(("-", "/")) else f" {line}"
    return re.sub(r"\s+", " ", joined)


def last_error(log: str) -> str:
    """The last error in the log of a program, which may have been wrapped, else its last line."""
    lines = [line for line in strip_ansi(log).splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("Error:")]
    return unwrap("\n".join(lines[errors[-1] if errors else -1 :]))


def server_message(message: str) -> str:
    """The gateway's own words of C(code, '…', message, "…"), else the text as it is."""
    found = re.search(r'message: "(.*)"', message)
    return found.group(1) if found else message


def classify(message: str) -> str:
    """The kind of a failure, a key of C(REMEDIES) or C(not_found), C(already_exists), C(invalid), C(precondition), C(not_ready), C(usage), C(other)."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, message)), "other")


def fields(text: str, section: str = "") -> dict[str, str]:
    """C(Key, value) lines of a text listing, of one section (a line C(Section:) alone) or of all."""
    inside, found = not section, {}
    for line in strip_ansi(text).splitlines():
        if line and not line.startswith(" "):
            inside = not section or line.strip() == f"{section}:"
        match = re.match(r"^\s+([A-Z][\w ]*):\s*(.*)$", line)
        if inside and match:
            found[match.group(1)] = match.group(2).strip()
    return found
