# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantities of CPU and memory as a command line gives them."""

from __future__ import annotations

import re


def cpus(text):
    """Billionths of a CPU from `2`, `0.5` or `500m`; None when it is none of these."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", text)
    amount = float(match.group(1)) * (1e6 if match.group(2) else 1e9) if match else 0
    return int(amount) or None


def bytes_of(text):
    """Bytes from `512Mi`, `4Gi`, `8G` or a number; None when it is none of these."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|K|M|G|T)?", text)
    if not match:
        return None
    unit = match.group(2) or ""
    factor = (1024 if unit.endswith("i") else 1000) ** " KMGT".index(unit[0].upper()) if unit else 1
    return int(float(match.group(1)) * factor) or None
