# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: a fleet of three hosts, onboarded, and once more to show that a second run changes nothing."""

from __future__ import annotations

import os
import time

from .hosts import Bed
from .images import OPENCLAW, ensure_all
from .paths import CHECKOUT, TESTS
from .play import Play, play

AFTERWARDS = """
Look around:
  python3 -m tests.bed ssh h1                      log in to a host (h1, h2, h3)
  python3 -m tests.bed ssh h1 systemctl status 'nemoclaw-*'
  python3 -m tests.bed reboot h1                   restart it: the agent comes back by itself
  {run} ansible-playbook -i inventories/demo playbooks/status.yml
  {run} ansible-playbook -i inventories/demo playbooks/verify.yml
Take it down: make demo-down
"""


def heading(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def onboard(arguments: list[str]) -> Play:
    run = play("onboard.yml", CHECKOUT / "inventories" / "demo", *arguments, show=True)
    for host, modules in sorted(run.executions.items()):
        print(f"{host or 'controller'}: {len(modules)} module executions")
    return run


def demo(arguments: list[str]) -> int:
    """Returns the exit status: 0 when both runs succeeded and the second changed nothing."""
    began = time.monotonic()
    heading("1 of 4: images and model server (kept in the cache)")
    ensure_all(lambda text: print(text, flush=True))
    heading("2 of 4: three hosts")
    Bed("demo", 3).up(lambda text: print(text, flush=True), load=[OPENCLAW])
    binaries = os.environ["OPENSHELL_BIN_DIR"]
    kind = "the emulator" if binaries.startswith(str(TESTS)) else "the real one"
    heading(f"3 of 4: onboard the fleet (OpenShell: {kind}, {binaries})")
    first = onboard(arguments)
    if first.rc != 0:
        return first.rc
    heading("4 of 4: the same again")
    second = onboard(arguments)
    if second.rc != 0:
        return second.rc
    heading(f"first run {first.seconds:.0f} s, second run {second.seconds:.0f} s with {second.changed} changes, {time.monotonic() - began:.0f} s in all")
    print(AFTERWARDS.format(run="tests/bed/bootstrap.sh"))
    return 1 if second.changed else 0
