# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module, and shows how far it is."""

from __future__ import annotations

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._progress import ActionModule

__all__ = ["ActionModule"]
