# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the agents of a host for an answer, through everything: the sandbox, its policy, the inference route, the model."""

from __future__ import annotations

import json
import time
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.action import ActionBase

try:
    import jmespath
except ImportError:
    jmespath = None

TRIES = 2  # a first turn right after the start can meet an agent that still repairs its state


def judged(result: dict[str, t.Any], verify: dict[str, t.Any]) -> dict[str, t.Any]:
    """C({ok, answer, error}) of one turn; C(verify) holds JMESPath expressions on what the agent printed."""
    try:
        said = json.loads(result.get("stdout") or "")
    except ValueError:
        said = {}
    ok = result.get("rc") == 0 and bool(jmespath.search(verify["ok"], said))
    answer = jmespath.search(verify["answer"], said) if ok else ""
    error = "" if ok else jmespath.search(verify["error"], said) or result.get("stderr") or result.get("msg") or "no answer"
    return {"ok": ok, "answer": answer or "", "error": str(error).strip()[-600:]}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _spec, args = self.validate_argument_spec(
            {"plan": {"type": "dict", "required": True}, "names": {"type": "list", "elements": "str"}, "settle": {"type": "float", "default": 0}}
        )
        if jmespath is None:
            raise AnsibleError(missing_required_lib("jmespath", reason="for nemoclaw.fleet.verify, on the controller"))
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "An agent is not asked in check mode."}
        time.sleep(args["settle"])
        plan = args["plan"]
        chosen = [s for s in plan["sandboxes"] if s["state"] == "present" and (args["names"] is None or s["name"] in args["names"])]
        found = {sandbox["name"]: self._ask(plan, sandbox, task_vars) for sandbox in chosen}
        failed = [f"{name}: {one['error']}" for name, one in found.items() if not one["ok"]]
        result: dict[str, t.Any] = {"changed": False, "ok": not failed, "sandboxes": found}
        if failed:
            remedy = "See `journalctl -u nemoclaw-agent@NAME` on the host, and run playbooks/verify.yml again."
            result.update(failed=True, msg=f"No answer from the agent of {'; '.join(failed)}. {remedy}")
        return result

    def _ask(self, plan: dict[str, t.Any], sandbox: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        verify, start = sandbox["verify"], time.monotonic()
        arguments = {
            "owner": plan["owner"]["name"],
            "gateway": plan["gateway"]["name"],
            "bin_dir": plan["gateway"]["bin_dir"],
            "sandbox": sandbox["name"],
            "argv": verify["argv"],
            "timeout": verify["timeout"],
            "expect_rc": list(range(256)),
        }
        for _attempt in range(TRIES):
            turn = self._execute_module(module_name="nemoclaw.fleet.openshell_exec", module_args=arguments, task_vars=task_vars)
            answer = judged(turn, verify)
            if answer["ok"] or turn.get("kind"):  # the command itself could not be run: asking again does not help
                break
        return {**answer, "seconds": round(time.monotonic() - start, 1)}
