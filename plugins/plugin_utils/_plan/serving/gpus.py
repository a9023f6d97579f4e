# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs of a host as servers see them, and their memory as one budget. Pure functions."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import cdi
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan.variables import Problem


class Device(t.NamedTuple):
    """What a container can be given: a GPU, or a part of one. C(name) is its CDI device; C(capability) is empty where nobody knows."""

    name: str
    label: str
    memory_mb: int
    capability: str
    unified: bool
    part: bool = False  # no program can use more than one


class Claim(t.NamedTuple):
    """GPU memory that something is to take: of its C(devices) in equal parts, or of any where it names none. C(variable) is what asked for it.

    C(remedy) is what to do about one that nothing asks for.
    """

    variable: str
    what: str
    memory_mb: int
    devices: tuple[str, ...] = ()
    remedy: str = ""


def devices(facts: dict[str, t.Any]) -> list[Device]:
    """The devices of a host whose GPUs can be used; one that is partitioned is its parts."""
    gpu = facts.get("gpu") or {}
    found = []
    for one in gpu.get("gpus", []) if gpu.get("status") == "ok" else []:
        partitioned = one.get("mig") == "enabled"
        capability, unified = one.get("compute_capability", ""), bool(one.get("unified"))
        for name, part in zip(cdi.names([one]), one["mig_devices"] if partitioned else [one]):
            found.append(Device(f"{cdi.KIND}={name}", one["name"], part.get("memory_mb") or 0, capability, unified, partitioned))
    return found


def named(given: list[t.Any]) -> list[str]:
    """GPUs that the user named, by number or by device, as CDI devices."""
    return [str(name) if "=" in str(name) else f"{cdi.KIND}={name}" for name in given]


def together(used: t.Sequence[Device]) -> int:
    """Memory of devices that a model is spread over: in equal parts, so of each as much as the smallest has."""
    return len(used) * min((device.memory_mb for device in used), default=0)


def unusable(variable: str, facts: dict[str, t.Any]) -> t.Iterator[Problem]:
    """What is wrong with the GPUs of a host that is to serve from them."""
    gpu = facts.get("gpu") or {"status": "none", "detail": ""}
    if gpu["status"] != "ok":
        remedy = gpu.get("remedy") or "Serve from a host with an NVIDIA GPU."
        yield Problem(variable, f"the GPUs of this host cannot be used: {gpu.get('detail') or 'none found'}.", remedy)


def of_sandbox(sandbox: dict[str, t.Any], there: list[str]) -> tuple[str, ...]:
    """The devices that a sandbox is to have: C(true) all, also by their common name, a number the first ones, a list itself."""
    wanted = sandbox.get("gpu") if sandbox["state"] != "absent" else False
    if isinstance(wanted, list):
        return tuple(there if f"{cdi.KIND}=all" in wanted else wanted)
    return tuple(there if wanted is True else there[: wanted or 0])


def gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GiB"


def problems(claims: t.Sequence[Claim], found: t.Sequence[Device], host_mb: int) -> t.Iterator[Problem]:
    """Claims that together are more than there is, with the sum. C(host_mb) is what the host itself needs of memory that its GPUs share with it."""
    shares: dict[str, list[tuple[Claim, float]]] = {}
    for claim in claims:
        for name in claim.devices:
            shares.setdefault(name, []).append((claim, claim.memory_mb / len(claim.devices)))
    over = False
    for device in found:
        taken = [*shares.get(device.name, []), *_of_host(device, host_mb)]
        if len(taken) > 1 and sum(part for _claim, part in taken) > device.memory_mb > 0:
            over = True
            yield _problem(taken, f"{device.name} ({device.label})", device.memory_mb)
    every = [(claim, float(claim.memory_mb)) for claim in claims]
    total = sum(device.memory_mb for device in found)
    if found and every and not over:
        every += [one for device in found[:1] for one in _of_host(device, host_mb)]
        if len(every) > 1 and sum(part for _claim, part in every) > total > 0:
            yield _problem(every, f"all {len(found)} GPUs together" if len(found) > 1 else f"{found[0].name} ({found[0].label})", total)


def fits_twice(own: Claim, claims: t.Sequence[Claim], found: t.Sequence[Device], host_mb: int) -> bool:
    """Whether the devices of one of the claims have room for it a second time; what names no device may be on any."""

    def taken(device: Device) -> float:
        there = [claim for claim in [*claims, own] if not claim.devices or device.name in claim.devices]
        return sum(claim.memory_mb / max(len(claim.devices), 1) for claim in there) + host_mb * device.unified

    return all(taken(device) <= device.memory_mb for device in found if device.name in own.devices and device.memory_mb)


def _of_host(device: Device, host_mb: int) -> list[tuple[Claim, float]]:
    return [(Claim("", "the host itself", host_mb), float(host_mb))] if device.unified else []


def _problem(taken: list[tuple[Claim, float]], where: str, memory_mb: int) -> Problem:
    asked = [one for one in taken if one[0].variable]
    total = sum(part for _claim, part in taken)
    arithmetic = " + ".join(f"{claim.what} {gigabytes(part)}" for claim, part in taken)
    return Problem(
        asked[-1][0].variable,
        f"GPU memory of {where}: {arithmetic} = {gigabytes(total)}, and there are {gigabytes(memory_mb)}; {gigabytes(total - memory_mb)} too much.",
        next((claim.remedy for claim, _part in taken if claim.remedy), "Give the servers other GPUs, less memory or smaller models, or leave one out."),
    )
