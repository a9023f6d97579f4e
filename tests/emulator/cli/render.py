# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line prints: colours (NO_COLOR does not stop them, as in the real program), tables, errors wrapped at 80 columns."""

from __future__ import annotations

import json
import re
import sys

WIDTH = 78  # of 80 columns, the real program leaves two


def _style(code, end):
    return lambda text: f"\x1b[{code}m{text}\x1b[{end}m"


green, red, yellow, cyan = _style(32, 39), _style(31, 39), _style(33, 39), _style(36, 39)
bold, dim = _style(1, 0), _style(2, 0)


def bold_of(colour, text):
    return f"\x1b[1m{colour(text)}\x1b[0m"


def tick():
    return bold_of(green, "✓")


def done(text, stream=None):
    print(tick(), text, file=stream)


def done_aside(text):
    done(text, sys.stderr)


def warn(text, stream=None):
    print(yellow("!"), text, file=stream)


def heading(text):
    return bold_of(cyan, text)


def field(name, value):
    return f"  {dim(name + ':')} {value}"


def block(title, fields):
    """A heading, an empty line, and `name: value` lines."""
    print(heading(title))
    print()
    for name, value in fields:
        print(field(name, value))


def dump(data):
    print(json.dumps(data, indent=2, ensure_ascii=False, sort_keys=True))


def table(header, rows, colour=None):
    """A padded table; `colour(column, row)` may return a function that colours a cell."""
    widths = [max(len(name), *(len(row[i]) for row in rows)) for i, name in enumerate(header)]
    last = len(header) - 1
    print("  ".join(bold(name.ljust(widths[i]) if i < last else name) for i, name in enumerate(header)))
    for row in rows:
        cells = []
        for i, cell in enumerate(row):
            paint = colour(i, row) if colour else None
            cells.append((paint or str)(cell.ljust(widths[i]) if i < last else cell))
        print("  ".join(cells))


def wrapped(text, first, rest):
    """`text` in lines of at most WIDTH columns, broken after blanks, slashes and hyphens as the real program breaks them."""
    lines = []
    for paragraph in text.split("\n"):
        line, prefix = "", first if not lines else rest
        for piece in re.findall(r"\S*?[/-]+(?=[^\s\d/-])|\S+\s*|\s+", paragraph):
            if line and len(prefix) + len(line) + len(piece.rstrip()) > WIDTH:
                lines.append(prefix + line.rstrip())
                line, prefix = "", rest
            line += piece
        lines.append(prefix + line.rstrip())
    return lines


def error(message, causes=()):
    """An error with its causes, on stderr."""
    lines = wrapped(message, "  × ", "  │ ")
    for index, cause in enumerate(causes):
        last = index == len(causes) - 1
        lines += wrapped(cause, "  ╰─▶ " if last else "  ├─▶ ", "      " if last else "  │   ")
    lines[0] = "Error: " + lines[0]
    sys.stdout.flush()
    sys.stderr.write("\n".join(lines) + "\n\n")
