# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A blueprint that this collection cannot read is refused before any host, and says what of it."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest
import yaml

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils import _blueprint_schema as schema
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import BUNDLED, MANIFEST, Blueprint, BlueprintError, pins
from tests.unit.test_plan import LEAST, run

REMOVED = object()


@pytest.fixture
def changed(tmp_path):
    """The function gives a pinned blueprint in which a value, named by its dotted path, is another one or none."""

    def make(path: str, value) -> Blueprint:
        root = pathlib.Path(shutil.copytree(BUNDLED, tmp_path / "blueprint"))
        data = yaml.safe_load((root / "blueprint.yaml").read_text())
        *parents, last = path.split(".")
        target = data
        for key in parents:
            target = target[key]
        if value is REMOVED:
            del target[last]
        else:
            target[last] = value
        (root / "blueprint.yaml").write_text(yaml.safe_dump(data))
        (root / MANIFEST).write_text(pins(root))
        return Blueprint(root)

    return make


def test_the_bundled_one():
    schema.check(Blueprint())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("gatway", {}, "gatway: there is no such key. Did you mean gateway?"),
        ("gateway.prot", 8080, "gateway.prot: there is no such key. Did you mean port?"),
        ("openshell.below", REMOVED, "openshell.below: is missing."),
        ("gateway.port", "8080", "gateway.port: '8080' is a text, not a whole number."),
        ("gateway.port", 70000, "Give a port from 1 to 65535."),
        ("openshell.version", 0.1, "openshell.version: 0.1 is a number, not a text."),
        ("openshell.bin_dir", "bin", "Give an absolute path"),
        ("openshell.checksums", {"0.0.106": {"openshell.tar.gz": "abc"}}, "Give a SHA-256 of 64 hex digits."),
        ("requirements.packages", [], "requirements.packages: is empty."),
        ("policy.max_open", {"audit": "no"}, "policy.max_open.audit: 'no' is a text, not true or false."),
        ("schema", 2, "This collection reads blueprints of schema 1"),
        ("requires.collection", ">=9", "it is for nemoclaw.fleet >=9, this is"),
        ("requires.collection", "any", "'any' is no range of versions"),
    ],
)
def test_what_is_refused(changed, path, value, said):
    blueprint = changed(path, value)
    with pytest.raises(BlueprintError) as refused:
        schema.check(blueprint)
    assert said in str(refused.value)
    assert run({**LEAST, "nemoclaw_blueprint": {"source": str(blueprint.root)}})["msg"] == str(refused.value)


def test_all_mistakes_at_once(changed):
    blueprint = changed("gateway", {"name": 7, "prot": 1})
    with pytest.raises(BlueprintError) as refused:
        schema.check(blueprint)
    assert str(refused.value).count("\n  - ") >= 8


def test_an_installed_collection_has_its_version_in_its_manifest(tmp_path):
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"collection_info": {"version": "1.2.3"}}))
    assert schema.collection_version(tmp_path) == "1.2.3"
