# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorded answers of the real OpenShell (tests/golden/transcripts) as a stand-in for subprocess.run."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from pathlib import Path

TRANSCRIPTS = Path(__file__).resolve().parents[1] / "golden" / "transcripts"


@functools.cache
def steps(scenario: str) -> list[dict]:
    """The steps of a transcript, without its header."""
    return [json.loads(line) for line in (TRANSCRIPTS / f"{scenario}.jsonl").read_text(encoding="utf-8").splitlines()[1:]]


def calls() -> list[tuple[str, dict]]:
    """(scenario, step) of every recorded call of openshell."""
    return [(path.stem, step) for path in sorted(TRANSCRIPTS.glob("*.jsonl")) for step in steps(path.stem) if step.get("argv", [""])[0] == "openshell"]


def answer(scenario: str, text: str, failed: bool | None = None) -> tuple[int, str, str]:
    """(exit, stdout, stderr) of the first call whose words contain the text; of one that failed or did not, if asked for."""
    return next(
        (step["exit"], step["stdout"], step["stderr"])
        for step in steps(scenario)
        if text in " ".join(step.get("argv", [])) and failed in (None, step["exit"] != 0)
    )


@functools.cache
def options(*command: str) -> frozenset[str]:
    """The options that the real program's help names for a command, as ("sandbox", "create")."""
    text = next(step["stdout"] for step in steps("help") if step["argv"] == ["openshell", *command, "--help"])
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))


def words(argv: list[str]) -> list[str]:
    """A call without the program's directory and without the gateway, of which a transcript has one."""
    rest = argv[1:]
    return rest[2:] if rest[:1] == ["-g"] else rest


class Answers:
    """Answers calls from one transcript, in its order; a call that was not recorded there from here on is an error.

    ``after`` starts behind the first step whose words contain that text. With ``until`` (a `do`) the calls in between are answered in any order.
    Commands of ``loose`` (such as "sandbox create") are answered by the next recorded call of the same command whatever its options, which must
    then be options that the real program has. ``local`` runs on this machine what `sandbox exec` is asked to run.
    """

    def __init__(self, scenario: str, after: str = "", until: str = "", loose: tuple[str, ...] = (), local: bool = False):
        self._steps = steps(scenario)
        said = [step.get("do") or " ".join(step["argv"]) for step in self._steps]
        self._position = next(i + 1 for i, text in enumerate(said) if after in text) if after else 0
        self._end = said.index(until) if until else None
        self._loose = loose
        self._local = local
        self.made: list[tuple[list[str], dict]] = []

    def __call__(self, argv, **how):
        asked = words(argv)
        self.made.append((asked, how))
        if self._local and asked[:2] == ["sandbox", "exec"]:
            given = {key: how[key] for key in ("stdin", "input") if key in how}
            return subprocess.run(asked[asked.index("--") + 1 :], capture_output=True, encoding="utf-8", check=False, **given)
        loose = next((command.split() for command in self._loose if asked[: len(command.split())] == command.split()), None)
        if loose:
            unknown = {word for word in asked if re.match(r"--?[a-z]", word)} - options(*loose)
            assert not unknown, f"openshell {' '.join(loose)} has no {', '.join(sorted(unknown))}"
        for index in range(self._position, self._end or len(self._steps)):
            recorded = words(self._steps[index].get("argv") or ["", "-"])
            if recorded == asked or (loose and recorded[: len(loose)] == loose):
                self._position = self._position if self._end else index + 1
                step = self._steps[index]
                return subprocess.CompletedProcess(argv, step["exit"], step["stdout"], step["stderr"])
        raise AssertionError(f"was never recorded from here on: openshell {' '.join(asked)}")

    def commands(self) -> list[str]:
        """The calls that were made, without their options."""
        return [" ".join(asked[:2]) for asked, _how in self.made]


class Scripted:
    """Answers with the given (exit, stdout, stderr) one after the other, the last one for ever; an exception is raised."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.made: list[tuple[list[str], dict]] = []

    def __call__(self, argv, **how):
        self.made.append((list(argv), how))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return subprocess.CompletedProcess(argv, *answer)
