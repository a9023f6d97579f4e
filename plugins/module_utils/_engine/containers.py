# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers found by their labels. Private to the collection."""

from __future__ import annotations

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.client import connect, translated


def by_labels(labels: dict[str, str]) -> list[str]:
    """Ids of all containers, running or not, that carry all the labels."""
    return [c["Id"] for c in connect().containers(all=True, filters={"label": [f"{key}={value}" for key, value in labels.items()]})]


def start_by_labels(labels: dict[str, str]) -> bool:
    """Start the container with the labels, anew where it runs. False when there is none."""
    found = by_labels(labels)
    for container in found:
        with translated(f"The container {container[:12]} was not started"):
            connect().restart(container)
    return bool(found)
