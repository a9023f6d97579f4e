# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a host: the user's variables, the blueprint and the facts of the probe become its complete desired state. Runs on the controller only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import re
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.action import ActionBase

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils import _blueprint_schema as blueprint_schema
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils import _blueprint_source as blueprint_source
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import Blueprint, BlueprintError
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import approved as approving
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import build as planning
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import engine, serving
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import openshell as installing
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import variables as checking
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import SECRETS, Problem
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._policy.of_host import HostPolicies

PREFIX = "nemoclaw_"


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = False

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _spec, args = self.validate_argument_spec(
            {
                "facts": {"type": "dict"},
                "credentials_needed": {"type": "bool", "default": True},
                "host_checked": {"type": "bool", "default": True},
                "approved": {"type": "path"},
                "leftovers_named": {"type": "bool", "default": False},
            }
        )
        if checking.jsonschema is None:
            raise AnsibleError(missing_required_lib("jsonschema", reason="for nemoclaw.fleet.plan, on the controller"))
        variables, problems = self._variables(task_vars or {})
        try:
            blueprint = self._blueprint(variables)
            blueprint_schema.check(blueprint)
            schema = blueprint.yaml("schema/variables.yaml")
        except (BlueprintError, OSError) as error:
            return {"failed": True, "msg": str(error)}
        if not args["credentials_needed"]:
            credentials = {entry["credential"]: "not needed" for entry in blueprint.yaml("inference/providers.yaml").values()}
            credentials.update(dict.fromkeys(installing.credentials(variables), "not needed"))
            given = variables.get(SECRETS)
            variables[SECRETS] = {**(given if isinstance(given, dict) else {}), **credentials}
        unresolved = {problem.variable for problem in problems}
        problems += [found for found in checking.schema_problems(variables, schema) if found.variable not in unresolved]
        agents = {name: blueprint.yaml(f"agents/{name}/manifest.yaml") for name in blueprint.agents()}
        wrong = {problem.variable for problem in problems}
        variables = checking.completed({name: value for name, value in variables.items() if name not in wrong}, blueprint.data)
        if not args["credentials_needed"]:
            variables[SECRETS] = {**variables[SECRETS], **dict.fromkeys(serving.credentials(variables, blueprint), "not needed")}
        more = [installing.problems(variables, blueprint.data), serving.problems(variables, blueprint)]
        resolved = serving.resolved(variables, blueprint, args["facts"])
        problems += checking.cross_problems(resolved, blueprint.yaml("inference/providers.yaml"), agents, problems, more)
        if problems:
            return self._refused(problems)
        policies = HostPolicies(variables, blueprint, agents)
        if problems := policies.problems():
            return self._refused(problems)
        gateway = variables["nemoclaw_gateway"]["name"]
        result = {
            "changed": False,
            "owner": variables["nemoclaw_user"],
            "users": [variables["nemoclaw_user"], *variables["nemoclaw_gateway_users"]],
            "bin_dir": variables["nemoclaw_openshell"]["bin_dir"],
            "ports": [
                _port(name, port, gateway, address) for name, port in checking.ports(resolved, agents).items() for address in checking.addresses(name, resolved)
            ],
            "swap": variables["nemoclaw_swap"],
            "network": checking.network(resolved),
            "no_proxy": ["localhost", "127.0.0.1", variables["nemoclaw_gateway"]["subnet"], blueprint.data["gateway"]["host_alias"]],
            "servers": serving.probed(variables, blueprint),
            "gpu": engine.uses_gpus(variables),
            "requirements": blueprint.data["requirements"],
            "repair": [*variables["nemoclaw_preflight_repair"], *engine.repaired(variables), *installing.repaired(variables, blueprint.data)],
        }
        if args["facts"] is None:
            return result
        facts = _plain(args["facts"])
        files = installing.local_files(variables, blueprint.data, facts)
        try:
            found = self._digests({name: file.path for name, file in files.items()})
        except OSError as error:
            return self._refused([Problem("nemoclaw_openshell.path", f"{error.filename}: {error.strerror}.", f"It must hold {', '.join(files)}.")])
        if problems := list(installing.file_problems(files, found)):
            return self._refused(problems)
        programs = found if variables["nemoclaw_openshell"]["source"] == "directory" else {}
        variables, composed = _plain(variables), policies.composed(facts)
        inputs = planning.Inputs((task_vars or {})["inventory_hostname"], variables, blueprint, facts, programs, composed)
        if args["host_checked"] and (problems := planning.fact_problems(inputs)):
            return self._refused(problems)
        plan = planning.build(inputs)
        if args["approved"]:
            try:
                approving.check(pathlib.Path(args["approved"]).expanduser(), plan)
            except (approving.NotApproved, OSError, ValueError) as error:
                return {"failed": True, "msg": str(error)}
        notes = [f"{name}: {note}" for name, one in composed.items() for note in one.notes]
        left = [{"kind": one.kind, "name": one.name, "what": str(one)} for one in serving.unasked(variables, blueprint, facts)]
        if left and args["leftovers_named"] and not variables.get("nemoclaw_prune"):
            result["warnings"] = [f"{inputs.host}: {one['what']}" for one in left]
        return {**result, "plan": plan, "file": approving.file_name(plan), "notes": notes, "leftovers": left}

    def _refused(self, problems: list[Problem]) -> dict[str, t.Any]:
        listing = "\n".join(f"  - {problem}" for problem in problems)
        count = "is 1 mistake" if len(problems) == 1 else f"are {len(problems)} mistakes"
        return {
            "failed": True,
            "msg": f"There {count} in the variables of this host; nothing was changed.\n{listing}",
            "errors": [problem._asdict() for problem in problems],
        }

    def _variables(self, task_vars: dict[str, t.Any]) -> tuple[dict[str, t.Any], list[Problem]]:
        """The user's variables as plain values, secrets reduced to whether they are there, and those that could not be resolved."""
        found: dict[str, t.Any] = {}
        problems: list[Problem] = []
        for name in sorted(name for name in task_vars if name.startswith(PREFIX)):
            try:
                value = self._templar.template(task_vars[name])
                if value != {}:  # says nothing: a role's default
                    found[name] = _redacted(value) if name == SECRETS else _plain(value)
            except AnsibleError as error:
                problems.append(Problem(name, f"cannot be resolved: {error.message}", "Define what it refers to."))
        return found, problems

    def _blueprint(self, variables: dict[str, t.Any]) -> Blueprint:
        given = variables.get("nemoclaw_blueprint")
        # what is no text is refused by the schema, which is read from the blueprint
        chosen = {key: value for key, value in given.items() if isinstance(value, str)} if isinstance(given, dict) else {}
        digest = chosen.get("digest", "")
        return Blueprint(blueprint_source.resolve(chosen.get("source", "bundled"), digest), digest, chosen.get("version", ""))

    def _digests(self, paths: dict[str, str]) -> dict[str, str]:
        """SHA-256 of files of the controller; computed once a run, for all its hosts."""
        key = json.dumps([(path, os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in paths.values()])
        cache = os.path.join(C.DEFAULT_LOCAL_TMP, f"nemoclaw-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json")
        with contextlib.suppress(OSError, ValueError), open(cache, encoding="utf-8") as stream:
            return json.load(stream)
        digests = {name: sha256(path) for name, path in paths.items()}
        temporary = f"{cache}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(digests, stream)
        os.replace(temporary, cache)
        return digests


def _port(variable: str, port: int, gateway: str, address: str) -> dict[str, t.Any]:
    """A port for the probe, with the beginning of the name of the one unit that may hold it: another gateway's name may begin as this one's."""
    unit = {"nemoclaw_gateway": "gateway.service", "nemoclaw_proxy": "proxy.service"}.get(variable.partition(".")[0], "forward@")
    return {"port": port, "address": address, "purpose": variable, "variable": variable, "ours": f"{gateway}-{unit}"}


def _plain(value: t.Any) -> t.Any:
    """The value without Ansible's tags."""
    return json.loads(json.dumps(value))


def _redacted(secrets: t.Any) -> t.Any:
    """Names of secrets, with C(set) for each word of a text that is there: a plan sees its form, never a value."""
    if not isinstance(secrets, dict):
        return type(secrets)()
    return {str(name): re.sub(r"\S+", "set", str(value)) if isinstance(value, str) else type(value)() for name, value in secrets.items()}
