# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""References of images as text. Pure functions; private to the collection."""

from __future__ import annotations


def split(reference: str) -> tuple[str, str]:
    """C((repository, tag or digest)); the latter is empty when the reference has none. Of both the digest counts."""
    named, _at, digest = reference.partition("@")
    head, slash, last = named.rpartition("/")
    last, _colon, tag = last.partition(":")
    return head + slash + last, digest or tag


def registry_of(reference: str) -> str:
    """The registry that a reference names, as C(host) or C(host:port); empty where it means the engine's own default."""
    first, slash, _rest = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else ""


def mirrored(reference: str, mirrors: dict[str, str]) -> str:
    """The reference with the longest prefix that C(mirrors) knows replaced: C({"nvcr.io": "mirror.example:5000/nvcr"})."""
    known = [prefix for prefix in mirrors if reference.startswith(f"{prefix.rstrip('/')}/")]
    prefix = max(known, key=len, default="")
    return f"{mirrors[prefix].rstrip('/')}{reference[len(prefix.rstrip('/')) :]}" if prefix else reference
