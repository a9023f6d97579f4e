# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the replay cannot see: where the emulator breaks error lines, and usage errors that no transcript holds."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from tests.emulator.cli import clap, render

TRANSCRIPTS = pathlib.Path(__file__).parents[1] / "golden" / "transcripts"
WRITTEN_BY_HAND = re.compile(r"Set one|Specify a|Stop it|hint:|Register|Remove it|Expected them|List available|To free|TOML")


def recorded_errors():
    """Every recorded error whose text is the real one to the letter: no placeholder in it, no line break of its own."""
    for path in sorted(TRANSCRIPTS.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            text = json.loads(line).get("stderr") or ""
            text = text[max(text.find("Error:   × "), 0) :]
            if text.startswith("Error:") and not re.search(r"<[A-Z_]+>", text) and not WRITTEN_BY_HAND.search(text):
                yield text


def parts(text):
    """[message, cause, …] of an error as printed."""
    found = []
    for line in text.rstrip("\n").split("\n"):
        line = line.removeprefix("Error: ")
        start = re.match(r"  (× |[├╰]─▶ )", line)
        if start:
            found.append(line[start.end() :])
            continue
        rest = line.removeprefix("  │   ").removeprefix("  │ ").removeprefix("      ")
        found[-1] += ("" if found[-1].endswith(("-", "/")) else " ") + rest
    return found


def test_errors_break_where_the_real_ones_do(capsys):
    texts = set(recorded_errors())
    assert len(texts) > 60
    for text in texts:
        message, *causes = parts(text)
        render.error(message, causes)
        assert capsys.readouterr().err == text


# Asked of the real program (0.0.106); each is the first line and the usage line.
USAGE = [
    ("sandbox crate", "unrecognized subcommand 'crate'", "sandbox [OPTIONS] [COMMAND]"),
    (
        "sandbox get a --policy-only -o json",
        "the argument '--policy-only' cannot be used with '--output <OUTPUT>'",
        "sandbox get --policy-only <NAME>",
    ),
    ("sandbox get --polcy-only a", "unexpected argument '--polcy-only' found", "sandbox get --policy-only [NAME]"),
    ("sandbox list --limit x", "invalid value 'x' for '--limit <LIMIT>': invalid digit found in string", None),
    ("sandbox exec -n", "a value is required for '--name <NAME>' but none was supplied", None),
    (
        "sandbox create --name a --name b",
        "the argument '--name <NAME>' cannot be used multiple times",
        "sandbox create [OPTIONS] [-- <COMMAND>...]",
    ),
    ("policy set", "the following required arguments were not provided:", "policy set --policy <POLICY> [NAME]"),
    ("gateway add", "the following required arguments were not provided:", "gateway add <ENDPOINT>"),
    ("sandbox get a b", "unexpected argument 'b' found", "sandbox get [OPTIONS] [NAME]"),
    ("logs a --source gateway --n", "unexpected argument '--n' found", "logs --source <SOURCE> <NAME>"),
    ("sandbox list --names --ids", "the argument '--names' cannot be used with '--ids'", "sandbox list --names"),
]


@pytest.mark.parametrize(("words", "problem", "usage"), USAGE)
def test_usage_errors_read_as_the_real_ones(words, problem, usage):
    with pytest.raises(clap.Usage) as raised:
        clap.parse("openshell", words.split())
    first, *rest = str(raised.value).splitlines()
    assert first == f"error: {problem}"
    assert next((line for line in rest if line.startswith("Usage:")), None) == (usage and f"Usage: openshell {usage}")
