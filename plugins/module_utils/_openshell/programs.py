# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenShell's programs on a host. Private to the collection."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import archives
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import BIN_DIR
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.download import Source, download
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.replacement import Replacement, Store
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.services import GATEWAY, Service
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.versions import check_version, number
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

CLIENT, MODE = "openshell", "0755"
_VERSIONS = {"minimum": {"type": "str", "required": True}, "below": {"type": "str", "required": True}}
_ARCHIVE = {"name": {"type": "str", "required": True}, "sha256": {"type": "str", "required": True}, "url": {"type": "str"}}
_DOWNLOAD: dict[str, dict[str, t.Any]] = {
    "by": {"type": "str", "choices": ["host", "controller"], "default": "host"},
    **{key: {"type": "str", "default": ""} for key in ("proxy", "ca", "user", "credential")},
}
# of the module and of the action plugin in front of it
OPTIONS: dict[str, dict[str, t.Any]] = {
    "source": {"type": "str", "choices": ["preinstalled", "directory", "archive", "url"], "required": True},
    "programs": {"type": "list", "elements": "str", "default": ["openshell", "openshell-gateway", "openshell-sandbox"]},
    "bin_dir": {"type": "path", "default": BIN_DIR},
    "version": {"type": "str", "default": ""},
    "versions": {"type": "dict", "options": _VERSIONS},
    "sha256": {"type": "dict", "default": {}},
    "archives": {"type": "list", "elements": "dict", "default": [], "options": _ARCHIVE},
    "path": {"type": "path"},
    "download": {"type": "dict", "options": _DOWNLOAD},
    "secret": {"type": "str", "default": "", "no_log": True},
    "files": {"type": "dict", "default": {}},
    "allow_downgrade": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 60},
    "keep": {"type": "int", "default": 3},
}


def version_of(program: str) -> str:
    """What a program says with C(--version); empty when it cannot be run."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=20, cwd="/", check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+\.\d+\.\d+\S*", done.stdout)
    return found.group() if found and done.returncode == 0 else ""


class Missing(ResourceError):
    """Files of the controller are needed; the action plugin brings them."""

    kind = "missing"


class Programs(Resource):
    """C({bin_dir, programs, source, version, versions, sha256, archives, allow_downgrade, download, timeout, keep}): the programs of one version, verified.

    With C(sha256), the digest of each program, these very programs. With C(archives), C([{name, sha256, url}]), those that were taken out of archives with
    these digests: what they were is in the record kept beside the programs. With neither, whatever is there.

    The programs from before are kept beside them too: where those are wanted again, nothing has to be brought or downloaded. Else C(files) are the programs or
    archives on the host, by name; an archive that is not among them is downloaded from its URL.
    """

    kind = "programs"

    def __init__(self, desired: dict[str, t.Any], files: dict[str, str] | None = None, source: Source | None = None) -> None:
        super().__init__({"name": "openshell", **desired})
        self.files, self.source = files or {}, source or Source()
        self.store = Store(desired["bin_dir"])

    @property
    def _archives(self) -> dict[str, str]:
        return {archive["name"]: archive["sha256"] for archive in self.desired.get("archives") or []}

    @property
    def _downloads(self) -> bool:
        return self.desired["source"] == "url" and (self.desired.get("download") or {}).get("by") != "controller"

    @property
    def _installs(self) -> bool:
        return self.desired["source"] != "preinstalled"

    def read(self) -> dict[str, t.Any]:
        live = {program: self._program(program) for program in self.desired["programs"]}
        state = {"programs": {program: found for program, found in live.items() if found}, "record": {}, "kept": {}, "interrupted": False}
        if self._installs:
            records = {"record": self.store.read("record"), "kept": self.store.read("kept/record")}
            state.update(**records, interrupted=bool(self.store.read("journal")))
            if self._differs(state):  # what is right need not be run
                state.update(version=version_of(self.store.live(GATEWAY)), runs=bool(version_of(self.store.live(CLIENT))))
        return state

    def _program(self, program: str) -> dict[str, t.Any]:
        path = self.store.live(program)
        try:
            info = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        if not self._installs:
            return {"sha256": "present"}
        return {"sha256": sha256(path), "mode": f"{stat.S_IMODE(info.st_mode):04o}", "owner": info.st_uid}

    def _wanted(self, state: dict[str, t.Any]) -> dict[str, str]:
        """The digest of each program; of an unknown one, where it comes from."""
        if not self._installs:
            return dict.fromkeys(self.desired["programs"], "present")
        if self.desired.get("sha256"):
            return self.desired["sha256"]
        for record in (state["record"], state["kept"]):
            if record.get("archives") == self._archives and set(record["programs"]) == set(self.desired["programs"]):
                return record["programs"]
        return dict.fromkeys(self.desired["programs"], f"as in {', '.join(sorted(self._archives))}")

    def _differs(self, state: dict[str, t.Any]) -> list[Change]:
        wanted, found = self._wanted(state), state["programs"]
        changes = [
            self.change(f"{program} {key}" if key != "sha256" else program, found.get(program, {}).get(key), value)
            for program in self.desired["programs"]
            for key, value in (("sha256", wanted[program]), *((("mode", MODE), ("owner", os.geteuid())) if self._installs else ()))
            if found.get(program, {}).get(key) != value and (key == "sha256" or program in found)
        ]
        return changes + ([self.change("interrupted replacement", True, False)] if state["interrupted"] else [])

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        changes = self._differs(state)
        after = self.desired.get("version")
        if changes and self._installs and after and state.get("version") != after:
            changes.insert(0, self.change("version", state.get("version") or None, after))
        return changes

    def runs(self, state: dict[str, t.Any]) -> bool:
        """Whether what is there, if it is to be replaced, can at least be run."""
        return not state["programs"] or state.get("runs", True)

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if not self._installs:
            missing = ", ".join(self.store.live(program) for program in self.desired["programs"] if program not in state["programs"])
            raise ResourceError(f"{missing} not there.", "Install OpenShell on the host, or say where it comes from (nemoclaw_openshell.source).")
        replacement = Replacement(self.store, self.desired.get("timeout", 60), self.desired.get("keep", 3))
        try:
            with self.store.locked():
                replacement.resume()
                state = self.read()
                if self._differs(state):
                    kept = state["kept"].get("programs") == self._wanted(state)
                    self._install(replacement, state["kept"]["programs"] if kept else {})
        except OSError as error:
            where = error.filename or self.store.bin_dir
            raise ResourceError(f"The programs cannot be installed: {where}: {error.strerror}.", f"See space and rights of {self.store.bin_dir}.") from error

    def _install(self, replacement: Replacement, kept: dict[str, str]) -> None:
        """C(kept) are the digests of the programs from before, when those are wanted; they were here, so there is nothing to ask about going back to them."""
        try:
            self._stage(kept)
            after, before = self._staged_version(), version_of(self.store.live(GATEWAY))
            if before and self.desired.get("versions") and Service.all(self.store.bin_dir):
                check_version(before, **self.desired["versions"])  # its state is not ours to carry over
            if before and number(after) < number(before) and not (self.desired.get("allow_downgrade") or kept):
                raise ResourceError(f"OpenShell {after} is older than {before}, which is there.", "Set nemoclaw_openshell.allow_downgrade to go back to it.")
        except (OSError, ResourceError):
            self.store.clear()
            raise
        staged = {program: sha256(os.path.join(self.store.next, program)) for program in self.desired["programs"]}
        record = {"version": after, "archives": self._archives, "programs": staged}
        if staged != {program: self._program(program).get("sha256") for program in staged}:
            replacement.begin(staged, before, after, record)
            return
        for program in staged:  # the same ones from elsewhere, or only their rights: nothing has to be restarted
            os.chown(self.store.live(program), os.geteuid(), os.getegid())
            os.chmod(self.store.live(program), int(MODE, 8))
        self.store.write("record", record)
        self.store.clear()

    def _stage(self, kept: dict[str, str]) -> None:
        """The verified programs in C(store.next)."""
        target = self.store.empty(self.store.next)
        if kept:
            for program, expected in kept.items():
                archives.copy(os.path.join(self.store.kept, program), os.path.join(target, program))
                archives.verify(os.path.join(target, program), program, expected)
            return
        missing = sorted(set(self.desired.get("sha256") or self._archives) - set(self.files))
        if missing and not self._downloads:
            raise Missing(f"{', '.join(missing)} must be brought to the host.", "Give nemoclaw_openshell.path, or name them in files.")
        if self.desired.get("sha256"):
            for program, expected in self.desired["sha256"].items():
                archives.copy(self.files[program], os.path.join(target, program))
                archives.verify(os.path.join(target, program), program, expected)
            return
        incoming = self.store.empty(os.path.join(self.store.path, "incoming"))
        try:
            found = [program for archive in self.desired["archives"] for program in self._unpack(archive, incoming, target)]
        finally:
            self.store.empty(incoming)
            os.rmdir(incoming)
        for program in self.desired["programs"]:
            if program not in found:
                raise ResourceError(f"{program} is in none of {', '.join(self._archives)}.", "Check nemoclaw_openshell.format.")

    def _unpack(self, archive: dict[str, str], incoming: str, target: str) -> list[str]:
        path = self.files.get(archive["name"])
        if not path:
            path = os.path.join(incoming, archive["name"])
            download(archive["url"], path, self.source)
        archives.verify(path, archive.get("url") or archive["name"], archive["sha256"])
        return archives.extract(path, archive["name"], self.desired["programs"], target)

    def _staged_version(self) -> str:
        """The one version that all staged programs are of, which must be understood and be the one that was asked for."""
        versions = {program: version_of(os.path.join(self.store.next, program)) for program in self.desired["programs"]}
        found = versions[GATEWAY]
        if not found or set(versions.values()) != {found}:
            listing = ", ".join(f"{program} is {version or 'of no version'}" for program, version in versions.items())
            raise ResourceError(f"The programs do not fit together or to this host: {listing}. Nothing was changed.", "Check where they come from.")
        if self.desired.get("version") and found != self.desired["version"]:
            raise ResourceError(f"The programs are OpenShell {found}, not {self.desired['version']}. Nothing was changed.", "Set nemoclaw_openshell.version.")
        if self.desired.get("versions"):
            check_version(found, **self.desired["versions"])
        return found
