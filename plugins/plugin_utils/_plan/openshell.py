# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where OpenShell's programs come from, and what pins them. Pure functions."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.versions import number, refusal
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import SECRETS, Problem, url_problem

WHERE = "nemoclaw_openshell"
ARCHIVED = ("archive", "url")
# the keys that only some sources know
ONLY = {
    "path": ("directory", "archive"),
    "checksums": ("directory", *ARCHIVED),
    "version": ("directory", *ARCHIVED),
    "format": ARCHIVED,
    **dict.fromkeys(("url", "download_by", "proxy", "ca", "user", "credential"), ("url",)),
}


def version(chosen: dict[str, t.Any], data: dict[str, t.Any]) -> str:
    """The version that is wanted; empty where it is what the programs say."""
    return chosen.get("version") or (data["version"] if chosen["source"] in ARCHIVED else "")


def problems(variables: dict[str, t.Any], data: dict[str, t.Any]) -> t.Iterator[Problem]:
    """What is wrong with C(nemoclaw_openshell), whatever the host; C(data) is the blueprint's."""
    chosen, data = variables[WHERE], data["openshell"]
    source = chosen["source"]
    for key in sorted(set(ONLY) & set(chosen)):
        if source not in ONLY[key]:
            yield Problem(f"{WHERE}.{key}", f"is not used by the source {source}.", f"Leave it out, or set source to {' or '.join(ONLY[key])}.")
    if source in ("directory", "archive") and not chosen.get("path"):
        what = "three programs" if source == "directory" else "release's archives"
        yield Problem(f"{WHERE}.path", f"is missing or empty; the source {source} needs it.", f"Set it to the directory on the controller with the {what}.")
    wanted = version(chosen, data)
    if wanted and (refused := refusal(wanted, data["minimum"], data["below"])):
        yield Problem(f"{WHERE}.version", *refused)
    elif source in ARCHIVED and wanted not in data["checksums"] and not chosen.get("checksums"):
        yield Problem(f"{WHERE}.checksums", f"is missing; the blueprint pins no checksums of {wanted}.", "Give those of its files.")
    if source == "url":
        yield from _url_problems(variables, chosen)


def _url_problems(variables: dict[str, t.Any], chosen: dict[str, t.Any]) -> t.Iterator[Problem]:
    for key in ("url", "proxy"):
        if key in chosen and (wrong := url_problem(re.sub(r"\{(version|arch)\}", "x", chosen[key]))):
            yield Problem(f"{WHERE}.{key}", *wrong)
    credential = chosen.get("credential")
    if credential and not variables.get(SECRETS, {}).get(credential):
        yield Problem(f"{SECRETS}.{credential}", f"is missing or empty; {WHERE}.credential names it.", "Set it from a vault or the environment.")
    if credential and not chosen.get("url", "").startswith("https://"):
        yield Problem(f"{WHERE}.url", "would send a secret in the clear, or to a server that needs none.", "Give your mirror's https URL, or no credential.")
    if chosen.get("user") and not credential:
        yield Problem(f"{WHERE}.credential", "is missing; there is a user.", "Name the password's entry in nemoclaw_credentials.")
    if "BEGIN CERTIFICATE" not in chosen.get("ca", "BEGIN CERTIFICATE"):
        yield Problem(f"{WHERE}.ca", "holds no certificate.", "Give its text, such as \"{{ lookup('ansible.builtin.file', 'ca.pem') }}\".")


def archives(chosen: dict[str, t.Any], data: dict[str, t.Any], arch: str) -> list[dict[str, str]]:
    """The release's files for an architecture: C([{name, sha256, url}]); the digest is empty where nothing pins it."""
    if chosen["source"] not in ARCHIVED:
        return []
    values = {"version": version(chosen, data), "arch": arch, "deb_arch": data["deb_arch"].get(arch, arch)}
    names = [_filled(name, values) for name in data["archives"][chosen.get("format", "tarball")]]
    pins = {**data["checksums"].get(values["version"], {}), **chosen.get("checksums", {})}
    base = _filled(chosen.get("url") or data["release_url"], values).rstrip("/")
    return [{"name": name, "sha256": pins.get(name, ""), **({"url": f"{base}/{name}"} if chosen["source"] == "url" else {})} for name in names]


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found.group(1), found.group()), text)


def host_problems(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """What is wrong with C(nemoclaw_openshell) for one host."""
    chosen, data = variables[WHERE], data["openshell"]
    for archive in archives(chosen, data, facts.get("arch", "")):
        if not archive["sha256"]:
            yield Problem(
                f"{WHERE}.checksums", f"holds no checksum of {archive['name']}, and the blueprint pins none.", "Give the one published with the release."
            )
    found = (facts.get("openshell") or {}).get("openshell-gateway") or {}
    there = found["version"] if os.path.dirname(found.get("path", "")) == chosen["bin_dir"].rstrip("/") else ""
    wanted = version(chosen, data)
    if there and wanted and number(wanted) < number(there) and not chosen.get("allow_downgrade"):
        yield Problem(f"{WHERE}.version", f"{wanted} is older than {there}, which is on the host.", f"Set {WHERE}.allow_downgrade: true to go back to it.")


class LocalFile(t.NamedTuple):
    """A file of the controller, and the digest that it must have; any, when empty."""

    path: str
    sha256: str


def local_files(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any]) -> dict[str, LocalFile]:
    """The programs or archives on the controller that a host gets, by name."""
    chosen, data = variables[WHERE], data["openshell"]
    wanted: dict[str, str] = {}
    if chosen["source"] == "directory":
        wanted = {name: chosen.get("checksums", {}).get(name, "") for name in data["programs"]}
    elif chosen["source"] == "archive":
        wanted = {archive["name"]: archive["sha256"] for archive in archives(chosen, data, facts.get("arch", ""))}
    return {name: LocalFile(os.path.join(os.path.expanduser(chosen["path"]), name), digest) for name, digest in wanted.items()}


def file_problems(files: dict[str, LocalFile], found: dict[str, str]) -> t.Iterator[Problem]:
    """Files whose digest is not the one they must have."""
    for name, file in files.items():
        if file.sha256 and file.sha256 != found[name]:
            yield Problem(
                f"{WHERE}.path",
                f"{file.path} has the SHA-256 {found[name]}, expected is {file.sha256}.",
                f"Get the file again, or name its checksum in {WHERE}.checksums if it is meant to be another one.",
            )


def credentials(variables: dict[str, t.Any]) -> list[str]:
    """Names of the credentials that are needed to install, in variables that nobody has checked yet."""
    chosen = variables.get(WHERE)
    name = chosen.get("credential") if isinstance(chosen, dict) else None
    return [name] if isinstance(name, str) else []


def repaired(variables: dict[str, t.Any], data: dict[str, t.Any]) -> list[str]:
    """The checks of a host whose faults an installation mends."""
    return [f"{name.replace('-', '_')}_unusable" for name in data["openshell"]["programs"] if variables[WHERE]["source"] != "preinstalled"]


def programs(variables: dict[str, t.Any], data: dict[str, t.Any], facts: dict[str, t.Any], digests: dict[str, str]) -> dict[str, t.Any]:
    """The plan's entry; C(digests) are those of the programs of a directory."""
    chosen, data = variables[WHERE], data["openshell"]
    entry = {
        "bin_dir": chosen["bin_dir"],
        "programs": data["programs"],
        "source": chosen["source"],
        "version": version(chosen, data),
        "versions": {key: data[key] for key in ("minimum", "below")},
        "sha256": digests,
        "archives": archives(chosen, data, facts.get("arch", "")),
        "allow_downgrade": chosen.get("allow_downgrade", False),
        "timeout": data["ready_timeout"],
        "keep": data["backups"],
    }
    if chosen["source"] == "url":
        entry["download"] = {"by": chosen.get("download_by", "host"), **{key: chosen.get(key, "") for key in ("proxy", "ca", "user", "credential")}}
    return entry
