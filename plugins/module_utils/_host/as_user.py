# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Working with a user's files without the power of root: a link that the user put in the way leads no further than the user could go.

Private to the collection.
"""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

PATIENCE = 20  # seconds; a pipe in place of a file would be waited for forever


def as_user(account: pwd.struct_passwd, function: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
    """The (JSON) result of C(function), called by a process of that user; what it raises as OSError is a ResourceError here."""
    if os.geteuid() == account.pw_uid:
        try:
            return function(*args)
        except OSError as error:
            raise _failed(account, str(error)) from error
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        answer = {"error": "no answer"}
        try:
            os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            answer = {"result": function(*args)}
        except OSError as error:
            answer = {"error": str(error)}
        finally:
            # whatever happens, there is only one that goes on with the module's work
            try:
                os.write(theirs, json.dumps(answer).encode())
            finally:
                os._exit(0)
    os.close(theirs)
    try:
        if not select.select([ours], [], [], PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
        with os.fdopen(ours, "rb") as stream:
            answer = json.loads(stream.read() or '{"error": "no answer"}')
    finally:
        os.waitpid(child, 0)
    if "error" in answer:
        raise _failed(account, answer["error"])
    return answer["result"]


def _failed(account: pwd.struct_passwd, said: str) -> ResourceError:
    return ResourceError(f"As the user {account.pw_name}: {said}.", f"See what lies there in {account.pw_dir}.")
