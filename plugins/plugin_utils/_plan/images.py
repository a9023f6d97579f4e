# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where images come from, by C(nemoclaw_image_mirrors). Pure functions."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.reference import mirrored

NAME = "nemoclaw_image_mirrors"


def named(reference: str, variables: dict[str, t.Any]) -> str:
    """What an image is called on the host: one by digest keeps its mirror's name, because a digest cannot be given to it."""
    return mirrored(reference, variables.get(NAME, {})) if "@" in reference else reference


def mirrors(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the desired state of an image says of mirrors; nothing where there are none."""
    return {"mirrors": variables[NAME]} if variables.get(NAME) else {}
