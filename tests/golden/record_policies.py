# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what the real OpenShell answers to every policy of the corpus, and to every preset and tier: python -m tests.golden.record_policies [--compare]

A policy that a running sandbox can take is set on one and waited for; any other is what a new sandbox is created with. Takes the three
programs in OPENSHELL_BIN_DIR, else on PATH. With --compare, writes nothing and exits 1 where an answer is not the recorded one.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import fcntl
import json
import queue
import re
import subprocess
import sys

from tests.emulator import replay
from tests.emulator.scenario import IMAGE, Scenario
from tests.golden import policies

AT_ONCE = 8
WAIT = 60  # seconds for a policy to be loaded; the real one looks every ten


class Recorder:
    def __init__(self, scenario):
        self.scenario = scenario
        self.ready = queue.Queue()
        self.bases = {}

    def openshell(self, *words):
        argv = [str(self.scenario.binaries / "openshell"), "-g", "nemoclaw", *words]
        done = subprocess.run(
            argv, env=self.scenario.env, cwd=self.scenario.cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )
        return done.returncode, plain(done.stdout + done.stderr)

    def create(self, name, text):
        (self.scenario.cwd / f"{name}.yaml").write_text(text)
        return self.openshell("sandbox", "create", "--name", name, "--from", IMAGE, "-o", "json", "--policy", f"{name}.yaml")

    def set(self, name, text):
        (self.scenario.cwd / f"{name}.yaml").write_text(text)
        return self.openshell("policy", "set", name, "--policy", f"{name}.yaml", "--wait", "--timeout", str(WAIT))

    def by_creation(self, number, case):
        name = f"c{number}"
        code, said = self.create(name, case.text)
        if code == 0:
            said = ""
        self.openshell("sandbox", "delete", name)
        return outcome(code, said)

    def by_setting(self, names, case):
        """Set the policy on one of the sandboxes, which then is the next one's."""
        name = names.get()
        try:
            return outcome(*self.set(name, case.text))
        finally:
            names.put(name)

    def all(self, cases):
        pools = {}
        for case in cases:
            key = json.dumps([(case.policy or {}).get(part) for part in policies.BASE], sort_keys=True)
            pools.setdefault(key, []).append(case)
        found = {}
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for number, group in enumerate(pools.values()):
                names = queue.Queue()
                if len(group) > AT_ONCE or group[0].live:
                    static = {key: group[0].policy[key] for key in policies.BASE}
                    for index in range(AT_ONCE):
                        name = f"p{number}x{index}"
                        code, said = self.create(name, json.dumps({**static, "network_policies": {}}))
                        if code:
                            sys.exit(f"no sandbox to try policies on: {said}")
                        names.put(name)
                    done = {case.name: pool.submit(self.by_setting, names, case) for case in group}
                else:
                    done = {case.name: pool.submit(self.by_creation, f"{number}x{index}", case) for index, case in enumerate(group)}
                for case in group:
                    found[case.name] = {"digest": case.digest, **done[case.name].result()}
                    print(f"{found[case.name]['outcome']:12} {case.name}: {found[case.name]['message'][:110]}", flush=True)
        return found


def plain(text):
    """An answer in one line, without colours, frames and numbers of versions."""
    text = re.sub(r"\x1b\[[0-9;]*m|[│╰─▶×✓✗·]", "", text)
    text = re.sub(r"(ambiguity validation failed:).*", r"\1", text, flags=re.DOTALL)  # which of two rules it names first is chance
    return " ".join(re.sub(r"(version|hash:) \w+", r"\1 N", text).split())


def outcome(code, said):
    if code == 0:
        return {"outcome": "accepted", "message": ""}
    stored = re.search(r"version N (failed|to load)", said)
    return {"outcome": "not loaded" if stored else "refused", "message": said}


def main():
    parser = argparse.ArgumentParser(prog="tests.golden.record_policies", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("-k", default="", help="only those whose name contains this; nothing is written")
    options = parser.parse_args()
    replay.need_image()
    cases = [case for case in [*policies.corpus("bad"), *policies.corpus("good"), *policies.merged()] if options.k in case.name]
    with open(replay.LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Scenario({"pki": True, "gateway": True, "registered": True}, replay.bin_dir(True)) as scenario:
            found = Recorder(scenario).all(cases)
    if not options.compare:
        if not options.k:
            policies.RECORDED.write_text(json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return 0
    kept = policies.recorded()
    moved = [name for name in found if found[name] != kept.get(name)]
    for name in moved:
        print(f"{name}: recorded {kept.get(name)}, now {found[name]}")
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
