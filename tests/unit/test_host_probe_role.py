# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles that look at a host, on the machine that runs the tests: preflight in one module execution, every fault at once, in check mode too."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest
import yaml

import ansible_collections.nemoclaw.fleet as collection

COLLECTIONS = pathlib.Path(next(iter(collection.__path__))).parents[2]
ROLE = pathlib.Path(__file__).resolve().parents[2] / "roles" / "preflight"
# faults that the machine of the tests may have
TOLERATED = ["init", "python_modules", "docker", "docker_engine", "docker_data", "openshell", "openshell_gateway", "openshell_sandbox", "seccomp"]


def play(folder, *flags, **variables):
    """Run the role, then a task that names what it found; returns the exit code and the output."""
    return run(
        folder,
        [
            {"name": "Preflight", "ansible.builtin.include_role": {"name": "nemoclaw.fleet.preflight"}},
            {"name": "Say", "ansible.builtin.debug": {"msg": "arch={{ preflight_probe.facts.arch }} ok={{ preflight_probe.ok }}"}},
        ],
        *flags,
        **variables,
    )


def run(folder, tasks, *flags, **variables):
    """Run tasks on this machine; returns the exit code and the output."""
    book = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": {"preflight_repair": TOLERATED, **variables}, "tasks": tasks}]
    (folder / "play.yml").write_text(yaml.safe_dump(book))
    settings = {"COLLECTIONS_PATH": COLLECTIONS, "INJECT_FACT_VARS": "false", "PYTHON_INTERPRETER": sys.executable, "NOCOLOR": "1"}
    environment = {**os.environ, **{f"ANSIBLE_{name}": str(value) for name, value in settings.items()}}
    program = pathlib.Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run([program, *flags, "play.yml"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def held_ports():
    """Two ports that this test listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        yield [server.getsockname()[1] for server in (one, other)]


@pytest.mark.parametrize("flags", [[], ["--check"]], ids=["run", "check"])
def test_ready(tmp_path, flags):
    code, output = play(tmp_path, *flags)
    assert code == 0, output
    assert f"arch={os.uname().machine} ok=True" in output
    assert "changed=0" in output


def test_every_error_at_once(tmp_path, held_ports):
    ports = [{"port": port, "purpose": f"part {port}", "variable": "nemoclaw_gateway.port"} for port in held_ports]
    code, output = play(tmp_path, preflight_ports=ports)
    assert code == 2
    assert "This host is not ready; nothing was changed." in output
    for port in held_ports:
        assert f"port_{port}: 127.0.0.1:{port} (part {port}) is held by" in output
    assert "set nemoclaw_gateway.port to a free port" in output


def test_errors_that_do_not_stop(tmp_path, held_ports):
    code, output = play(tmp_path, preflight_ports=[{"port": held_ports[0]}], preflight_fail=False)
    assert code == 0, output
    assert "ok=False" in output


def test_limits_are_the_blueprints_unless_given(tmp_path):
    code, output = play(tmp_path, preflight_requirements={"cpus": 100000})
    assert code == 0, output
    assert "CPUs, 100000 are the minimum" in output


def test_reports_on_the_controller(tmp_path, held_ports):
    folder = tmp_path / "reports"
    code, output = play(tmp_path, "--check", preflight_ports=[{"port": held_ports[0]}], preflight_report_dir=str(folder), preflight_show="all")
    assert code == 2, output
    report = json.loads((folder / "localhost-preflight.json").read_text())
    assert report["ok"] is False
    (fault,) = [one for one in report["checks"] if one["severity"] == "error" and not one["ok"]]
    assert fault["name"] == f"port_{held_ports[0]}"
    page = (folder / "localhost-preflight.md").read_text()
    assert f"| **error** | `port_{held_ports[0]}` | {fault['detail']} | {fault['remedy']} |" in page
    assert page.count("\n| ") == len(report["checks"]) + 1
    assert f"# localhost: {len(report['checks'])} checks: 1 error" in page
    assert "ok       platform" in output


def test_one_module_execution():
    tasks = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())
    on_the_controller = {"ansible.builtin.debug", "ansible.builtin.fail", "ansible.builtin.include_tasks"}
    actions = [next(key for key in task if "." in key) for task in tasks]
    assert [action for action in actions if action not in on_the_controller] == ["nemoclaw.fleet.host_probe"]


def test_defaults_are_the_documented_ones():
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == defaults


def test_a_role_alone_looks_where_its_servers_are_to_be(tmp_path):
    """So that local_inference refuses by itself what onboard.yml refuses: models that find no room."""
    tasks = [{"name": "Plan", "ansible.builtin.include_role": {"name": "nemoclaw.fleet.local_inference", "tasks_from": "plan"}}]
    program = {"source": "url", "version": "0.13.5", "checksum": "0" * 64}
    wanted = {"state": "present", **program, "models_dir": "/proc/models", "models": [{"name": "qwen3.5:9b", "memory_mb": 100}]}
    code, output = run(tmp_path, tasks, local_inference_ollama=wanted)
    assert code == 2, output
    assert "are to come onto /proc, which has 0 GB free" in " ".join(output.split())
