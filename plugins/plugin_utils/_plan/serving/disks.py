# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What model servers have still to put on a host's disks, against what is free there. Pure functions."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.reference import split
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.caches import of_revision
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem

DATA_ROOT = "nemoclaw_docker.data_root"
CONTAINERD_ROOT = "root in /etc/containerd/config.toml"


class Claim(t.NamedTuple):
    """C(gb) of something on the file system C(mount) with C(free_gb); C(variable), or a setting of containerd, says where it is put."""

    variable: str
    what: str
    gb: float
    mount: str
    free_gb: float


def image(reference: str, compressed: float, unpacked: float, variables: dict[str, t.Any], facts: dict[str, t.Any]) -> t.Iterator[Claim]:
    """An image that is not there yet; C(compressed) is 0 where only the other is known."""
    given = (variables.get("nemoclaw_docker") or {}).get("data_root") or facts.get("data_root", "")
    with_containerd = (facts.get("docker") or {}).get("image_store") == "containerd"
    root, variable = (facts["image_root"], CONTAINERD_ROOT) if with_containerd else (given, DATA_ROOT)
    disk = (facts.get("disks") or {}).get(root)
    if disk and named(reference) not in (facts.get("docker") or {}).get("images", []):
        sizes = f" ({compressed:g} compressed, {unpacked:g} unpacked)" if compressed else ""
        gb = compressed + unpacked
        yield Claim(variable, f"the image {split(reference)[0]} {gb:.1f} GB{sizes}", gb, disk["mount"], disk["free_gb"])


def named(reference: str) -> str:
    """As the engine lists it."""
    return reference if split(reference)[1] else f"{reference}:latest"


def weights(model: str, size_gb: float, cache: str, variable: str, facts: dict[str, t.Any], revision: str = "") -> t.Iterator[Claim]:
    """A model's files in a cache that the probe was asked about, less what of them is there."""
    found = (facts.get("caches") or {}).get(cache)
    if not found:
        return
    there = of_revision(found["models"].get(model, {}), revision) / 10**9
    gb = size_gb - there
    if gb > 0.01 * size_gb:  # sizes are rounded, and beside the weights there are small files
        part = f" ({size_gb:g} less {there:.1f} that are there)" if there else ""
        yield Claim(variable, f"the weights of {model} {gb:.1f} GB{part}", gb, found["mount"], found["free_gb"])


def problems(claims: t.Sequence[Claim]) -> t.Iterator[Problem]:
    """File systems on which not everything finds room."""
    for mount in dict.fromkeys(claim.mount for claim in claims):
        mine = [claim for claim in claims if claim.mount == mount]
        needed, free = sum(claim.gb for claim in mine), min(claim.free_gb for claim in mine)
        if needed <= free:
            continue
        total = f" = {needed:.1f} GB" if len(mine) > 1 else ""
        variables = list(dict.fromkeys(claim.variable for claim in mine))
        yield Problem(
            variables[0],
            f"{' + '.join(claim.what for claim in mine)}{total} are to come onto {mount}, which has {free:g} GB free; {needed - free:.1f} GB are missing.",
            f"Free space there ('docker system df' shows what images take), or set {' or '.join(variables)} to a directory on a larger file system. "
            "What is there already is not counted.",
        )
