# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replay recorded calls: python -m tests.emulator.replay PATH... [--real] [--record DIR] [-k NAME]

Each scenario runs on a fresh gateway with directories of its own; each answer is compared with the recorded one. Prints every
difference, ends with `N passed, N failed` (steps; `, N skipped` where some are out of the emulator's reach), exits 1 on failure.

--real      the three programs in OPENSHELL_BIN_DIR (else on PATH) instead of the emulator's
--record    write what was answered, in the same format, to DIR instead of comparing
-k          only scenarios whose name contains NAME
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from . import reach
from .compare import differences
from .normalise import of_machine
from .scenario import IMAGE, Scenario

LOCK = "/tmp/openshell-replay.lock"
BINARIES = ("openshell", "openshell-gateway", "openshell-sandbox")


def bin_dir(real):
    if not real:
        return pathlib.Path(__file__).resolve().parent / "bin"
    found = os.environ.get("OPENSHELL_BIN_DIR") or os.path.dirname(shutil.which("openshell-gateway") or "")
    if not found or not all((pathlib.Path(found) / name).exists() for name in BINARIES):
        sys.exit(f"--real: OPENSHELL_BIN_DIR is {found or 'not set'}; set it to the directory that holds {', '.join(BINARIES)}.")
    return pathlib.Path(found).resolve()


def transcripts(paths):
    for path in map(pathlib.Path, paths):
        if not path.exists():
            sys.exit(f"{path}: no such transcript; give a .jsonl file or a folder of them.")
        yield from sorted(path.glob("*.jsonl")) if path.is_dir() else [path]


def need_image():
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode:
        sys.exit(
            f"The sandbox image {IMAGE} is not in this machine's Docker engine. Build it with the test bed (`make bed-images`) "
            "or load an archive of it (`docker load`)."
        )


def lines(path):
    header, *steps = (json.loads(line) for line in path.read_text().splitlines() if line.strip())
    return header, steps


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def report(self, where, step, found):
        if not found:
            self.passed += 1
            return
        self.failed += 1
        print(f"{where} {' '.join(step['argv'][:9])}"[:160])
        for difference in found:
            print("   ", difference[:1500])
        sys.stdout.flush()

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


def replay(path, binaries, real, tally, record=None):
    header, steps = lines(path)
    if lacking := reach.lacks(header):
        tally.skipped += sum("argv" in step for step in steps)
        print(f"{path.name}: {lacking}")
        return
    answers = []
    try:
        with Scenario(header, binaries) as scenario:
            for number, step in enumerate(steps, 1):
                if "do" in step:
                    scenario.do(step["do"])
                    answers.append(step)
                    continue
                reason = None if real else reach.beyond(step)
                answer = scenario.call(step)
                answers.append({**step, **answer})
                if record:
                    continue
                if reason:
                    tally.skipped += 1
                    continue
                tally.report(f"{path.name}:{number}", step, differences(compared(step), compared({**step, **answer})))
    except RuntimeError as error:
        unanswered = sum("argv" in step for step in steps) - sum("argv" in answer for answer in answers)
        tally.failed += unanswered
        print(f"{path.name}: {error} ({unanswered} steps not run)")
    if record:
        text = "\n".join(json.dumps(line, ensure_ascii=False) for line in [header, *answers])
        (pathlib.Path(record) / path.name).write_text(text + "\n")


def compared(step):
    return {**step, "stdout": of_machine(step["stdout"]), "stderr": of_machine(step["stderr"])}


def main():
    parser = argparse.ArgumentParser(prog="tests.emulator.replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="+")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--record", metavar="DIR")
    parser.add_argument("-k", metavar="NAME", default="")
    parser.add_argument("--durations", action="store_true", help="seconds of each scenario, on stderr")
    options = parser.parse_args()
    binaries, tally = bin_dir(options.real), Tally()
    need_image()
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in transcripts(options.path):
            if options.k not in path.stem:
                continue
            begin = time.monotonic()
            replay(path, binaries, options.real, tally, options.record)
            if options.durations:
                print(f"{time.monotonic() - begin:6.1f} s  {path.name}  ({tally})", file=sys.stderr)
    print(tally)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
