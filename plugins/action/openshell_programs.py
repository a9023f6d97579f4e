# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings programs or archives from the controller to the host, where the module says that it needs them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import archives
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.download import Source, download
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.programs import OPTIONS
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._progress import ShowsProgress

MODULE = "nemoclaw.fleet.openshell_programs"


class ActionModule(ShowsProgress, ActionBase):
    TRANSFERS_FILES = False  # only where it must: see _carried
    _supports_check_mode = True

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _spec, args = self.validate_argument_spec(OPTIONS)
        given = {key: value for key, value in args.items() if value is not None and key != "path"}
        result = self._execute_module(module_name=MODULE, module_args=given, task_vars=task_vars)
        if result.get("kind") != "missing" or not (args["path"] or args["source"] == "url"):
            return result
        try:
            files = self._local_files(args)
        except ResourceError as error:
            return {"failed": True, "changed": False, "msg": str(error), "remedy": error.remedy}
        given["files"] = {**given["files"], **self._carried(files)}
        return self._execute_module(module_name=MODULE, module_args=given, task_vars=task_vars)

    def _local_files(self, args: dict[str, t.Any]) -> dict[str, str]:
        """Files of the controller, verified, by name."""
        wanted = {archive["name"]: archive["sha256"] for archive in args["archives"]} if args["archives"] else args["sha256"]
        if args["source"] == "url":
            return {archive["name"]: self._downloaded(archive, args) for archive in args["archives"]}
        paths = {name: os.path.join(os.path.expanduser(args["path"]), name) for name in wanted}
        for name, path in paths.items():
            if not os.path.isfile(path):
                raise ResourceError(f"{path} is not there.", "Check nemoclaw_openshell.path.")
            archives.verify(path, path, wanted[name])
        return paths

    def _downloaded(self, archive: dict[str, str], args: dict[str, t.Any]) -> str:
        """The archive, downloaded once a run for all its hosts."""
        path = os.path.join(C.DEFAULT_LOCAL_TMP, f"nemoclaw-{archive['sha256']}")
        with open(f"{path}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.exists(path) or sha256(path) != archive["sha256"]:
                download(archive["url"], path, self._source(args))
                archives.verify(path, archive["url"], archive["sha256"])
        return path

    def _source(self, args: dict[str, t.Any]) -> Source:
        chosen, ca = args["download"], ""
        if chosen["ca"]:
            ca = os.path.join(C.DEFAULT_LOCAL_TMP, f"nemoclaw-{hashlib.sha256(chosen['ca'].encode()).hexdigest()[:16]}.pem")
            with open(ca, "w", encoding="utf-8") as stream:
                stream.write(chosen["ca"])
        return Source(chosen["proxy"], ca, chosen["user"], args["secret"])

    def _carried(self, files: dict[str, str]) -> dict[str, str]:
        """The files' paths on the host, in the task's own directory, which goes with it."""
        base = self._connection._shell.tmpdir or self._make_tmp_path()
        carried = {name: self._connection._shell.join_path(base, name) for name in files}
        for name, path in files.items():
            self._transfer_file(path, carried[name])
        self._fixup_perms2([base, *carried.values()])
        return carried
