# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running playbooks and reading what they did."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .hosts import Bed
from .paths import CACHE, CHECKOUT, SSH_KEY

CALLBACKS = Path(__file__).resolve().parent / "callbacks"
SSH_ARGUMENTS = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ServerAliveInterval=5 -o ServerAliveCountMax=6"


@dataclass(frozen=True, repr=False)
class Play:
    """What one run of ansible-playbook did."""

    rc: int
    output: str  # stdout and stderr as they came
    seconds: float
    recap: dict[str, dict[str, int]]  # host -> ok, changed, unreachable, failed, skipped, rescued, ignored
    results: list[dict]  # outcome, host, task, action, result; in order
    executions: dict[str, list[str]]  # host -> modules run there, in order

    @property
    def changed(self) -> int:
        return sum(host["changed"] for host in self.recap.values())

    def __repr__(self) -> str:
        """What a failed assertion shows of it: why the run failed, before anything else."""
        return f"Play(rc={self.rc}, {self.seconds:.1f} s, failures={self.failures})"

    @property
    def failures(self) -> list[str]:
        failed = [entry for entry in self.results if entry["outcome"] in ("failed", "unreachable")]
        return [f"{entry['host']}: {entry['task'].rpartition(' : ')[2]}: {entry['result'].get('msg', entry['result'])}" for entry in failed]

    def of_host(self, host: str, action: str = "") -> list[dict]:
        """Results of a host, of one action (``nemoclaw.fleet.verify``) if given."""
        return [entry["result"] for entry in self.results if entry["host"] == host and action in ("", entry["action"])]


def play(playbook, inventory, *arguments, limit="", variables=None, check=False, diff=False, environment=None, show=False, timeout=1800, kill_at="") -> Play:
    """Run ansible-playbook; never raises for a failed run. ``playbook`` is a path or a name in playbooks/; ``show`` passes the output on as it comes.

    ``kill_at`` is a text in the output at which ansible-playbook is killed with all its workers, as when its machine dies.
    """
    path = Path(playbook) if Path(playbook).exists() else CHECKOUT / "playbooks" / playbook
    argv = ["ansible-playbook", "-i", str(inventory), str(path), *arguments]
    argv += ["--limit", limit] if limit else []
    argv += ["--extra-vars", json.dumps(variables)] if variables else []
    argv += ["--check"] * check + ["--diff"] * diff
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as record:
        env = {**os.environ, **callbacks("record", "built"), "PLAY_RECORD": record.name}
        env |= {"ANSIBLE_FORCE_COLOR": "1"} if show and sys.stdout.isatty() else {"ANSIBLE_NOCOLOR": "1"}
        began, lines = time.monotonic(), []
        process = subprocess.Popen(
            argv, cwd=CHECKOUT, env=env | (environment or {}), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=bool(kill_at),
        )  # fmt: skip
        watchdog = threading.Timer(timeout, process.kill)  # what hangs says nothing
        watchdog.daemon = True
        watchdog.start()
        with process:
            for line in process.stdout:
                lines.append(line)
                if show:
                    print(line, end="", flush=True)
                if kill_at and kill_at in line:
                    os.killpg(process.pid, signal.SIGKILL)
        watchdog.cancel()
        entries = [json.loads(line) for line in record]
    output = "".join(lines)
    executions: dict[str, list[str]] = {}
    for entry in entries:
        if "executed" in entry:
            executions.setdefault(entry["host"], []).append(entry["executed"])
    results = [entry for entry in entries if "outcome" in entry]
    return Play(process.returncode, output, time.monotonic() - began, parse_recap(output), results, executions)


def callbacks(*names: str) -> dict[str, str]:
    """The environment in which Ansible has these callbacks of ours besides those it would have."""
    others = os.environ.get("ANSIBLE_CALLBACKS_ENABLED", "nemoclaw.fleet.summary")
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": ",".join([*names, *filter(None, [others])]),
        "BUILT_MODULES": built_modules(),
    }


def built_modules() -> str:
    """A directory for the modules of these sources, as this Ansible packs them."""
    sources = sorted((CHECKOUT / "plugins").rglob("*.py"))
    content = b"".join(str(path).encode() + path.read_bytes() for path in sources) + f"{sys.prefix} {importlib.metadata.version('ansible-core')}".encode()
    return str(CACHE / "modules" / hashlib.sha256(content).hexdigest()[:12])


def parse_recap(output: str) -> dict[str, dict[str, int]]:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    _head, _recap, recap = plain.rpartition("PLAY RECAP")
    lines = re.findall(r"^(\S+)\s+: (ok=.*)$", recap, re.MULTILINE)
    return {host: {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines}


def inventory(bed: Bed, variables: dict) -> dict:
    """An inventory of a bed's hosts, to be written as JSON; ``variables`` are those of all hosts."""
    connection = {
        "ansible_user": "ops",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(SSH_KEY),
        "ansible_ssh_common_args": SSH_ARGUMENTS,
    }
    return {"all": {"hosts": {host.name: {"ansible_host": host.address} for host in bed.hosts}, "vars": connection | variables}}


def module_counts(run: Play) -> dict[str, Counter]:
    """How often each module ran on each host."""
    return {host: Counter(names) for host, names in run.executions.items()}
