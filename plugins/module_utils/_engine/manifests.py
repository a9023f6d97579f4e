# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What registries say: manifests, challenges, waiting times. Pure functions; private to the collection."""

from __future__ import annotations

import datetime
import email.utils
import re
import typing as t

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
LONGEST_WAIT = 300  # seconds that a registry may ask for between two tries
VARIANTS = {"arm64": "v8"}  # what no variant means
SCHEMES = ("bearer", "basic")  # the preferred one first
# of a challenge: a parameter with its value, quoted or not, else the word that begins the next challenge
PART = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([\w-]+)')


class Challenge(t.NamedTuple):
    """What a registry wants to see: C(scheme) is C(basic) or C(bearer), C(values) its parameters."""

    scheme: str
    values: dict[str, str]


def challenge(header: str) -> Challenge:
    """The one to meet of those in a header, which may be several joined."""
    found: list[Challenge] = []
    for key, quoted, bare, scheme in PART.findall(header):
        if scheme:
            found.append(Challenge(scheme.lower(), {}))
        elif found:
            found[-1].values[key.lower()] = quoted or bare
    known = [one for scheme in SCHEMES for one in found if one.scheme == scheme]
    return next(iter(known), Challenge("", {}))


def retry_after(header: str | None, now: datetime.datetime, default: float) -> float:
    """Seconds to wait, from the header's number or date; within reason."""
    seconds = default
    if header and header.strip().isdigit():
        seconds = float(header)
    elif header:
        try:
            seconds = (email.utils.parsedate_to_datetime(header) - now).total_seconds()
        except (TypeError, ValueError):
            seconds = default
    return min(max(seconds, 0.0), LONGEST_WAIT)


def platforms(index: dict[str, t.Any]) -> dict[str, str]:
    """Digests by C(os/architecture[/variant]); attestations and other notes on images are no images."""
    found = {}
    for entry in index.get("manifests") or []:
        platform, notes = entry.get("platform") or {}, entry.get("annotations") or {}
        if "vnd.docker.reference.type" in notes or "unknown" in (platform.get("os"), platform.get("architecture")) or not platform.get("os"):
            continue
        found[full_platform("/".join(filter(None, (platform["os"], platform.get("architecture"), platform.get("variant")))))] = entry["digest"]
    return found


def full_platform(platform: str) -> str:
    """With the variant that is meant where none is named."""
    system, _slash, rest = platform.partition("/")
    architecture, _slash, variant = rest.partition("/")
    return "/".join(filter(None, (system, architecture, variant or VARIANTS.get(architecture, ""))))


def same_platform(one: str, other: str) -> bool:
    """Of the same system and architecture; the variant is not compared: an engine often does not know it."""
    return one.split("/")[:2] == other.split("/")[:2]
