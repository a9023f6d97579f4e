# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One module an agent, each with the same pure functions: errors, config, files. Its facts are in blueprint/agents/<agent>/manifest.yaml."""

from __future__ import annotations

from . import openclaw

AGENTS = {"openclaw": openclaw}
