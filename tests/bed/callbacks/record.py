# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback that writes what a run did to the file named by PLAY_RECORD, one JSON object a line: module executions and task results."""

from __future__ import annotations

import json
import os

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: aggregate
short_description: Writes module executions and results to a file
description: For tests; the file is named by the environment variable E(PLAY_RECORD).
"""


def write(entry: dict) -> None:
    with open(os.environ["PLAY_RECORD"], "a", encoding="utf-8") as record:
        record.write(json.dumps(entry, default=str) + "\n")


def count_executions() -> None:
    """Note every module that is sent to a host, also those that an action plugin sends beside the one a task names."""
    execute = ActionBase._execute_module

    def noted(self, module_name=None, module_args=None, *args, task_vars=None, **kwargs):
        host = (task_vars or {}).get("inventory_hostname", "")
        write({"executed": module_name or self._task.action, "host": host, "task": self._task.get_name()})
        return execute(self, module_name, module_args, *args, task_vars=task_vars, **kwargs)

    ActionBase._execute_module = noted


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        count_executions()  # here, before workers are forked

    def note(self, outcome: str, result) -> None:
        write({"outcome": outcome, "host": result._host.get_name(), "task": result._task.get_name(), "action": result._task.action, "result": result._result})

    def v2_runner_on_ok(self, result) -> None:
        self.note("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False) -> None:
        self.note("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result) -> None:
        self.note("skipped", result)

    def v2_runner_on_unreachable(self, result) -> None:
        self.note("unreachable", result)
