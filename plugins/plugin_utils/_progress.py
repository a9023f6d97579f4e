# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module says of work that takes long (module_utils/_host/progress.py), shown here while it works. Private to the collection.

The module runs as it does without. A thread with a connection of its own reads the module's last line; what goes wrong with that ends the thread alone.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import os
import re
import secrets
import threading
import typing as t

from ansible.plugins.action import normal
from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import ASKED, FILES

VARIABLE = "nemoclaw_progress_interval"
EVERY = 10  # seconds between two lines
FIRST = 5  # seconds; nothing is asked of what has ended by then
SLOWER, SLOWEST = 1.2, 6  # each pause is so much longer than the one before, up to so many times the first
FAILURES = 3  # one after another
PATIENCE = 1  # seconds for a thread to end
LONGEST = 200  # characters
UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\S ]|[\x00-\x1f\x7f-\x9f]")

display = Display()


class ShowsProgress:
    """For an action: modules that it runs are watched."""

    def _execute_module(self, *args: t.Any, **kwargs: t.Any) -> dict[str, t.Any]:
        task_vars = kwargs.get("task_vars") or {}
        every = interval(self._templar.template(task_vars.get(VARIABLE)))
        if not every or self._task.async_val or self._task.no_log:
            return super()._execute_module(*args, **kwargs)
        name, host, before = secrets.token_hex(16), task_vars.get("inventory_hostname", ""), self._task.environment
        watch = Watch(lambda: Reader(self._connection, name), lambda text: display.display(line(host, text), stderr=True), every)
        self._task.environment = [*(before or []), {ASKED: name}]
        try:
            with watch:
                return super()._execute_module(*args, **kwargs)
        finally:
            self._task.environment = before


class ActionModule(ShowsProgress, normal.ActionModule):
    """Runs the module of the task's name as it is run without an action of its own."""


class Watch:
    """While it is entered, what C(connect()()) reads is shown when it has changed."""

    def __init__(self, connect: t.Callable[[], t.Callable[[], str]], show: t.Callable[[str], None], every: float) -> None:
        self._connect, self._show, self._every = connect, show, every
        self._ended, self._showing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._run,), daemon=True)

    def __enter__(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._thread.start()

    def __exit__(self, *error: object) -> None:
        with self._showing:  # a process that ends while it shows something leaves the lock of Ansible's queue taken, and the run hangs
            self._ended.set()
        with contextlib.suppress(RuntimeError):
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        shown, failures, read = "", 0, None
        for pause in pauses(self._every):
            if self._ended.wait(pause):
                return
            try:
                read = read or self._connect()
                text, failures = read(), 0
            except Exception:
                failures += 1
                if failures == FAILURES:
                    return
                continue
            with self._showing:
                if self._ended.is_set():
                    return
                if text and text != shown:
                    shown = text
                    self._show(text)


class Reader:
    """Reads the file of a module over a second connection to the same host, as the user who logs in."""

    def __init__(self, connection: t.Any, name: str) -> None:
        self._command = f"cat {FILES}/{name}"
        of_executor = {"new_stdin": None, "task_uuid": "", "ansible_playbook_pid": str(os.getppid())}  # as ansible.executor.task_executor makes one
        self._connection = connection_loader.get(connection.ansible_name, connection._play_context, **of_executor)
        self._connection.set_options(direct=connection.get_options())

    def __call__(self) -> str:
        """The last line; empty where there is none yet."""
        code, said, _error = self._connection.exec_command(self._command, sudoable=False)
        return said.decode("utf-8", "replace").strip() if code == 0 else ""


def interval(value: t.Any) -> float:
    """Seconds between two lines, 0 for none; the plan refuses what makes no sense, and here it is as if it was not there."""
    try:
        return max(float(value), 0)
    except (TypeError, ValueError):
        return EVERY


def pauses(every: float) -> t.Iterator[float]:
    """Seconds until the first look, and from each to the next: what takes an hour is not told every few seconds."""
    yield min(FIRST, every)
    for number in itertools.count():
        yield every * min(SLOWER ** min(number, 100), SLOWEST)


def line(host: str, text: str) -> str:
    """As it is shown: one line, which controls no terminal."""
    said = " ".join(UNPRINTABLE.sub(" ", text).split())
    return f"[{host}] {said if len(said) <= LONGEST else said[: LONGEST - 1] + '…'}"
