# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = """
name: summary
type: aggregate
short_description: One summary a host at the end of a run
version_added: 0.1.0
description:
  - After a play that plans or verifies hosts, says for each host what it runs, what changed, what the agents answered, and how long it took.
  - A host that failed or could not be reached is named with the reason.
requirements:
  - enable it with C(callbacks_enabled = nemoclaw.fleet.summary) in C(ansible.cfg)
"""

import time
import typing as t

from ansible.plugins.callback import CallbackBase

PREFIX = "nemoclaw.fleet."
# run on the controller alone
CONTROLLER_ONLY = {
    "nemoclaw.fleet.plan",
    *(f"ansible.builtin.{name}" for name in ("assert", "debug", "fail", "include_role", "include_tasks", "meta", "set_fact", "validate_argument_spec")),
    *("include_role", "include_tasks"),
}


class Host:
    """What is remembered of a host during a run."""

    def __init__(self) -> None:
        self.start = self.end = time.monotonic()
        self.plan: dict[str, t.Any] = {}
        self.answers: dict[str, dict[str, t.Any]] = {}
        self.changes: list[dict[str, t.Any]] = []
        self.warnings: list[str] = []
        self.changed = self.tasks = self.modules = 0
        self.error = ""

    def lines(self, name: str) -> list[str]:
        cost = f"{self.end - self.start:.1f} s, {self.tasks} tasks, {self.modules} module executions"
        status = "FAILED" if self.error else f"{self.changed} changed" if self.changed else "unchanged"
        head = f"{name}: {status} ({cost})"
        inference = self.plan.get("inference") or {}
        rows = [
            f"  {sandbox['name']}: {sandbox['agent']}, provider {inference['provider']['name']}, model {inference['route']['model']}, "
            f"http://127.0.0.1:{sandbox['forward']['port']}{self._said(sandbox['name'])}"
            for sandbox in self.plan.get("sandboxes", [])
            if sandbox["state"] == "present"
        ]
        warned = [f"  preflight warns: {', '.join(self.warnings)}"] if self.warnings else []
        return [head, *rows, *warned, *([f"  {self.error}"] if self.error else [])]

    def _said(self, sandbox: str) -> str:
        answer = self.answers.get(sandbox)
        return f', answered "{answer["answer"]}" in {answer["seconds"]} s' if answer and answer["ok"] else ""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "nemoclaw.fleet.summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._hosts: dict[str, Host] = {}

    def _host(self, result: t.Any) -> Host:
        return self._hosts.setdefault(result._host.get_name(), Host())

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        self._hosts.setdefault(host.get_name(), Host())

    def _count(self, result: t.Any) -> Host:
        host, items = self._host(result), result._result.get("results")
        host.end = time.monotonic()
        host.tasks += 1
        action = result._task.action
        if action not in CONTROLLER_ONLY and not result._result.get("skipped"):
            host.modules += len(items) if isinstance(items, list) else 1
        host.changed += bool(result._result.get("changed"))
        return host

    def v2_runner_on_ok(self, result: t.Any) -> None:
        host, action = self._count(result), result._task.action
        if action == f"{PREFIX}host_probe":
            host.warnings = [one["name"] for one in result._result["checks"] if one["severity"] == "warning" and not one["ok"]]
        if action == f"{PREFIX}plan":
            host.plan = result._result.get("plan", host.plan)
        if action == f"{PREFIX}verify":
            host.answers.update(result._result.get("sandboxes", {}))

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        host = self._count(result)
        if not ignore_errors:
            host.error = f"{result._task.get_name().strip()}: {str(result._result.get('msg', 'failed')).strip()}"

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._count(result).error = f"unreachable: {str(result._result.get('msg', '')).strip()}"

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        if not any(host.plan or host.error for host in self._hosts.values()):
            return
        self._display.banner("SUMMARY")
        for name in sorted(self._hosts):
            host = self._hosts[name]
            lines = host.lines(name)
            self._display.display(lines[0], color="red" if host.error else "yellow" if host.changed else "green")
            for line in lines[1:]:
                self._display.display(line)
