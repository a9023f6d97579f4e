# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machine this is: spark, station, jetson, linux or none. Pure functions; private to the collection."""

from __future__ import annotations

import re

SPARK = re.compile(r"DGX[_\s-]+Spark", re.IGNORECASE)
STATION = re.compile(r"\bP3830\b|DGX[_\s-]+Station|Station[_\s-]+GB300|GB300[_\s-]+(DGX[_\s-]+)?Station", re.IGNORECASE)
STATION_RELEASE = re.compile(r"GB300WS|GALAXY-GB300", re.IGNORECASE)
JETSON = re.compile(r"Jetson|Tegra|\b(Thor|Orin|Xavier)\b", re.IGNORECASE)


def parse_dgx_release(text: str) -> dict[str, str]:
    """``/etc/dgx-release`` -> ``{name, platform, version, ota_version}``.

    Values come with and without quotes, keys repeat with every update (the last one counts), so the file
    cannot be sourced. The serial number in it is left there.
    """
    values = {}
    for line in text.splitlines():
        key, found, value = line.partition("=")
        if found:
            values[key.strip()] = value.strip().strip('"')
    names = {"name": "DGX_NAME", "platform": "DGX_PLATFORM", "version": "DGX_SWBUILD_VERSION", "ota_version": "DGX_OTA_VERSION"}
    return {name: values.get(key, "") for name, key in names.items()}


def identify(firmware: dict[str, str], dgx: dict[str, str], gpu_names: list[str], tegra_nodes: bool, nvidia_pci: bool) -> tuple[str, list[str]]:
    """Return ``(platform, evidence)``.

    :param firmware: texts of DMI and device tree, by their names (product_name, product_family, board_name, model).
    :param dgx: what :func:`parse_dgx_release` returns; alone it proves nothing, such images run on other servers too.
    :param gpu_names: as nvidia-smi prints them.
    :param tegra_nodes: one of the Tegra device nodes exists.
    :param nvidia_pci: a display or 3D controller of NVIDIA is on the PCI bus.
    """
    for platform, pattern in (("spark", SPARK), ("station", STATION), ("jetson", JETSON)):
        evidence = [f"{name}={text}" for name, text in sorted(firmware.items()) if pattern.search(text)]
        if evidence:
            return platform, evidence
    names = " ".join(gpu_names)
    if re.search(r"\bGB10\b", names) or (SPARK.search(dgx["name"]) and (nvidia_pci or gpu_names)):
        return "spark", _evidence(dgx["name"], gpu_names)
    if STATION_RELEASE.search(dgx["name"] + " " + dgx["platform"]) and re.search(r"\bGB300\b", names):
        return "station", _evidence(dgx["platform"], gpu_names)
    if tegra_nodes or JETSON.search(names):
        return "jetson", _evidence("", gpu_names) or ["Tegra device nodes"]
    if gpu_names or nvidia_pci:
        return "linux", _evidence("", gpu_names) or ["NVIDIA device on the PCI bus"]
    return "none", []


def _evidence(release: str, gpu_names: list[str]) -> list[str]:
    return ([f"dgx-release={release}"] if release else []) + [f"gpu={name}" for name in sorted(set(gpu_names))]
