# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors of images in the plan: an image keeps its name, one by digest has the mirror's; names of built images stay."""

from __future__ import annotations

from tests.unit.test_plan import TYPICAL, plan

MIRRORS = {"nemoclaw_image_mirrors": {"ghcr.io": "mirror.example:5000/ghcr", "nvcr.io": "mirror.example:5000/nvcr"}}
EXACT = "nvcr.io/team/agent@sha256:" + "0" * 64


def image_of(given):
    return plan({**TYPICAL, **MIRRORS, **given})["sandboxes"][0]


def test_an_agents_image_from_a_mirror():
    sandbox = image_of({"nemoclaw_images": {"openclaw": {"source": "pull", "name": "nvcr.io/team/agent:1"}}})
    assert (sandbox["image"]["name"], sandbox["create"]["image"]) == ("nvcr.io/team/agent:1",) * 2
    assert sandbox["image"]["mirrors"] == MIRRORS["nemoclaw_image_mirrors"]
    sandbox = image_of({"nemoclaw_images": {"openclaw": {"source": "pull", "name": EXACT}}})
    assert (sandbox["image"]["name"], sandbox["create"]["image"]) == (EXACT.replace("nvcr.io", "mirror.example:5000/nvcr"),) * 2


def test_a_built_image_is_the_same_from_any_mirror():
    given = {"nemoclaw_images": {"openclaw": {"base": "ghcr.io/team/base:1"}}}
    assert image_of(given)["create"]["image"] == plan({**TYPICAL, **given})["sandboxes"][0]["create"]["image"]
    assert image_of(given)["image"]["mirrors"]["ghcr.io"] == "mirror.example:5000/ghcr"


def test_without_mirrors_nothing_is_said_of_them():
    assert "mirrors" not in plan(TYPICAL)["sandboxes"][0]["image"]
