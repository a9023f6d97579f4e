# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`logs`: what gateway and supervisor noted about a sandbox."""

from __future__ import annotations

import re
import sys

from ..errors import Failure, NotRecorded

UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(text):
    match = re.fullmatch(r"(\d+)([a-z])", text)
    if not match:
        raise Failure(f"invalid duration: {text} (expected e.g. 5m, 1h, 30s)")
    if match.group(2) not in UNITS:
        raise Failure(f"unknown duration unit: {match.group(2)} (use s, m, or h)")
    return int(match.group(1)) * UNITS[match.group(2)]


def logs(context):
    args = context.args
    if args.tail:
        raise NotRecorded("logs --tail")
    name = context.sandbox_name(args.name)
    since = _seconds(args.since) if args.since else 0
    sources = args.source if isinstance(args.source, list) else [args.source]
    found = context.call("sandbox.logs", name=name, lines=int(args.n), since=since, level=args.level or "", sources=[] if sources == ["all"] else sources)
    if since and found["buffered"] >= int(args.n):
        print(f"Warning: log buffer contains only the last {found['buffered']} lines; --since results may be incomplete.", file=sys.stderr)
    for line in found["lines"]:
        print(f"[{line['at']:.3f}] [{line['source']}] [{line['level']:<5}] [{line['target']}] {line['text']}")
