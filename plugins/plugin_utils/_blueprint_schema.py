# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a blueprint is one that this version of the collection reads. Private to the collection."""

from __future__ import annotations

import functools
import json
import pathlib

import yaml

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import BUNDLED, LOADER, Blueprint, BlueprintError
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import dotted, schema_faults

try:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
except ImportError:  # ansible-core itself needs it on the controller
    InvalidSpecifier, SpecifierSet = ValueError, None


@functools.cache
def collection_version(root: pathlib.Path = BUNDLED.parent) -> str:
    """The version of this collection, installed or as a checkout."""
    installed = root / "MANIFEST.json"
    if installed.is_file():
        return json.loads(installed.read_text(encoding="utf-8"))["collection_info"]["version"]
    return yaml.load((root / "galaxy.yml").read_text(encoding="utf-8"), Loader=LOADER)["version"]


def check(blueprint: Blueprint) -> None:
    """Raise BlueprintError with all that is wrong in C(blueprint.yaml): unknown, missing and wrong keys, or a collection that it is not for."""
    # this collection's own schema: what it can read is its business, not the blueprint's
    schema = yaml.load((BUNDLED / "schema" / "blueprint.yaml").read_text(encoding="utf-8"), Loader=LOADER)
    faults = [f"{dotted(path)}: {problem.replace('variable', 'key')} {remedy}" for path, problem, remedy in schema_faults(blueprint.data, schema)]
    if not faults:
        faults = [found for found in (_collection_fault(blueprint.data["requires"]["collection"]),) if found]
    if faults:
        listing = "".join(f"\n  - {fault}" for fault in faults)
        raise BlueprintError(f"The blueprint in {blueprint.root} is not one that this collection reads (blueprint.yaml).{listing}")


def _collection_fault(wanted: str) -> str:
    try:
        fits = SpecifierSet(wanted).contains(collection_version(), prereleases=True)
    except InvalidSpecifier:
        return f"requires.collection: {wanted!r} is no range of versions. Give one such as '>=0.1.0,<0.2.0'."
    return (
        "" if fits else f"requires.collection: it is for nemoclaw.fleet {wanted}, this is {collection_version()}. Take a blueprint or a collection that fits."
    )
