# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that differ from run to run become the placeholders a transcript uses; values of the machine become equal on both sides."""

from __future__ import annotations

import re

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

RUN = [
    (re.compile(r"\b" + UUID + r"\b"), "<UUID>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<SHA256>"),
    (re.compile(r"(hash: )[0-9a-f]{12}\b"), r"\1<HASH>"),
    (re.compile(r"(?m)^(\d+ +)[0-9a-f]{12}( +\w+ +)\d{13}\b"), r"\1<HASH>\2<MS>"),
    (re.compile(r'("(?:created|loaded)_at_ms": )\d+'), r'\1"<MS>"'),
    (re.compile(r'("config_revision": )\d+'), r'\1"<REV>"'),
    (re.compile(r"(?i)(Config rev: +)\d+"), r"\1<REV>"),
    (re.compile(r"\b1[6-9]\d{11}(?= ms$)", re.MULTILINE), "<MS>"),
    (re.compile(r"(openshell:resolve:env:v)\d+(_)"), r"\1<REV>\2"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?"), "<TIME>"),
    (re.compile(r"(?m)^\[\d+\.\d+\] "), "[<TS>] "),
    (re.compile(r"\[\d+\.\d+s\]"), "[<S>s]"),
    # the comparison knows process numbers by their four digits or more; a machine that has just started has shorter ones
    (re.compile(r"\b\d{1,3}(?=\s+(?:\x1b\[[0-9;]*m)*running)"), "<PID>"),
]

# What the recording machine's network and engine said, not what OpenShell said: made equal in the expected and in the actual answer.
MACHINE = [
    (re.compile(r"(?s)(pull\s*│?\s*Docker\s*│?\s*image\s*│?\s*failed:).*"), r"\1 <ENGINE'S REASON>\n"),
    (re.compile(r'("driver_version": )"[^"]*"'), r'\1"<ENGINE>"'),
    (re.compile(r"(Driver version:(?:\x1b\[0m)?) \S+"), r"\1 <ENGINE>"),
    (re.compile(r"(IPv4) +(?=\d)"), r"\1 "),
    (re.compile(r"after \d+ ms"), "after <N> ms"),
    (re.compile(r"(Docker \.+ ok \(version )[^)]+"), r"\1<ENGINE>"),
]


def of_run(text, replace):
    """`text` with run values as placeholders; `replace` maps this run's own strings (directories, bridge, made-up names) to theirs."""
    for value in sorted(replace, key=len, reverse=True):
        text = re.sub(unwrapped(value), lambda _match, name=replace[value]: name, text)
    for pattern, placeholder in RUN:
        text = pattern.sub(placeholder, text)
    return text


def unwrapped(value):
    """A pattern for `value` wherever an error may have been wrapped inside it: after a slash or a hyphen."""
    return r"(?<![\w.])" + re.sub(r"(/|\\-)(?=.)", r"\1(?:\\n  │ )?", re.escape(value)) + r"(?![\w])"


PROGRESS = re.compile(r"\x1b\[2m\[<S>s\]\x1b\[0m .*\n")


def of_machine(text):
    for pattern, placeholder in MACHINE:
        text = pattern.sub(placeholder, text)
    # On a busy machine the real command line shows the first events of a creation twice: once as history, once as news.
    seen = set()
    return PROGRESS.sub(lambda line: "" if line.group() in seen else seen.add(line.group()) or line.group(), text)
