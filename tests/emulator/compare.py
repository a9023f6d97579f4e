# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When two answers of one call count as the same.

Exit code, stdout and stderr must agree once noise is taken out that no two runs of the real program share: colours, where an
error was wrapped, column widths, process ids, file dates, numbers that race while a sandbox starts, and which log lines came when.
Everything else counts.
"""

from __future__ import annotations

import json
import re

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LOG_LINE = re.compile(r"^\[<TS>\] ")
SANDBOX_RACES = {"resource_version", "current_policy_version"}
POLICY_RACES = {"revision", "version", "active_version"}

# (pattern, replacement) in order, applied to text that is neither JSON nor a log.
NOISE = [
    (re.compile(r"(?m)^\s*(Error:\s+)?[×│╰├]─?▶?\s?"), r"\1"),
    (re.compile(r"(Resource version|Policy version|Revision): \d+"), r"\1: <N>"),
    (re.compile(r"\bpid \d+|\bPID\b.*|\b\d{4,7}(?=\s+running)"), "<PID>"),
    (re.compile(r"(\S+ +)\d+( root +\S+ +IPv4 )\d+"), r"\1<PID>\2<PID>"),
    (re.compile(r"[A-Z][a-z]{2} +\d+ \d\d:\d\d"), "<DATE>"),
    (re.compile(r"\(\d+\)(?= ->)"), "(<PID>)"),
    (re.compile(r"\(ancestors: .*"), "(…"),
]


def _parsed(text):
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, (dict, list)) else None


def _settled(data):
    if isinstance(data, list):
        return [_settled(item) for item in data]
    if not isinstance(data, dict):
        return data
    racing = (SANDBOX_RACES if "phase" in data else set()) | (POLICY_RACES if "policy_source" in data else set())
    return {key: "<N>" if key in racing else _settled(value) for key, value in sorted(data.items())}


def canonical(text, argv=()):
    """The comparable form of one stream: data when it is JSON, the kinds of line when it is a log, else text without blanks."""
    text = COLOUR.sub("", text)
    data = _parsed(text)
    if data is not None:
        return _settled(data)
    if "logs" in argv[1:]:
        return sorted({" ".join(line.split()[1:5]) for line in text.splitlines() if LOG_LINE.match(line)}) or text.split()
    for pattern, replacement in NOISE:
        text = pattern.sub(replacement, text)
    return re.sub(r"\s+", "", text)


def differences(expected, actual):
    """What differs between two steps (`exit`, `stdout`, `stderr`, `argv`), as sentences; empty when they agree."""
    found = []
    if expected["exit"] != actual["exit"]:
        found.append(f"exit {expected['exit']} != {actual['exit']}")
    for stream in ("stdout", "stderr"):
        if canonical(expected[stream], expected["argv"]) != canonical(actual[stream], expected["argv"]):
            found.append(f"{stream}: {expected[stream]!r} != {actual[stream]!r}")
    return found
