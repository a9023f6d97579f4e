# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia-smi says, as data. Pure functions; private to the collection."""

from __future__ import annotations

import re
from xml.etree import ElementTree

XML_QUERY = ("-q", "-x")
CSV_FIELDS = ("index", "name", "uuid", "memory.total", "driver_version", "mig.mode.current", "compute_cap")
CSV_QUERY = ("--query-gpu=" + ",".join(CSV_FIELDS), "--format=csv,noheader,nounits")

# GPUs without memory of their own: nvidia-smi prints "N/A" and the host's memory is what they have.
UNIFIED = re.compile(r"\b(GB10|N1X|Thor|Orin|Xavier|Jetson|Tegra)\b", re.IGNORECASE)

# What nvidia-smi prints when it fails -> (status, what to do). The first that matches decides.
FAILURES = (
    (
        re.compile(r"Driver/library version mismatch", re.IGNORECASE),
        "driver",
        "The loaded kernel module and the installed driver differ, as after a driver upgrade: reboot the host.",
    ),
    (
        re.compile(r"couldn't communicate with the NVIDIA driver", re.IGNORECASE),
        "driver",
        "The driver is installed but not loaded: run 'modprobe nvidia'; after a kernel update 'dkms autoinstall' first, or reboot.",
    ),
    (
        re.compile(r"couldn't find libnvidia-ml", re.IGNORECASE),
        "library",
        "The driver's library libnvidia-ml.so is missing: reinstall the NVIDIA driver package of this distribution.",
    ),
    (
        re.compile(r"No devices were found", re.IGNORECASE),
        "no_devices",
        "The driver runs but reaches no GPU: see 'dmesg | grep -i nvrm'; a GPU that fell off the bus needs a reboot or service.",
    ),
    (
        re.compile(r"Insufficient permission", re.IGNORECASE),
        "permission",
        "nvidia-smi may not open /dev/nvidia*: run with become, or put the user into the group that owns these files.",
    ),
)


def explain(rc: int, output: str) -> tuple[str, str, str]:
    """Return ``(status, detail, remedy)`` of a failed nvidia-smi."""
    text = " ".join(output.split())
    for pattern, status, remedy in FAILURES:
        if pattern.search(text):
            return status, text[:300], remedy
    return "failed", f"nvidia-smi ended with {rc}: {text[:300]}", "Run 'nvidia-smi' on the host and mend what it reports."


def megabytes(text: str | None) -> int | None:
    """``"97871 MiB"`` or ``"97871"`` -> 97871; ``N/A``, ``[N/A]``, ``0`` and the like -> None."""
    match = re.match(r"\s*(\d+)", text or "")
    return int(match.group(1)) or None if match else None


def known(text: str | None) -> str:
    """The text, or an empty string for what nvidia-smi prints when it has no answer."""
    text = (text or "").strip()
    return "" if text.strip("[]").lower() in ("n/a", "none", "not supported", "unknown error") else text


def parse_xml(text: str) -> dict:
    """``nvidia-smi -q -x`` -> ``{driver_version, cuda_version, gpus}``.

    Raises ValueError where the text is not such a document (a truncated one, an error text).
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as exc:
        raise ValueError(f"nvidia-smi -q -x did not print XML: {exc}") from exc
    if root.tag != "nvidia_smi_log":
        raise ValueError(f"nvidia-smi -q -x printed a document <{root.tag}>")
    return {
        "driver_version": known(root.findtext("driver_version")),
        "cuda_version": known(root.findtext("cuda_version")),
        "gpus": [_gpu_of_xml(index, node) for index, node in enumerate(root.findall("gpu"))],
    }


def _gpu_of_xml(index: int, node: ElementTree.Element) -> dict:
    return {
        "index": index,
        "name": known(node.findtext("product_name")),
        "uuid": known(node.findtext("uuid")),
        "bus_id": node.get("id", ""),
        "architecture": known(node.findtext("product_architecture")),
        "memory_mb": megabytes(node.findtext("fb_memory_usage/total")),
        "coherent": node.findtext("addressing_mode", "").strip() == "ATS",
        "compute_capability": "",
        "mig": known(node.findtext("mig_mode/current_mig")).lower(),
        "mig_devices": [
            {
                "index": int(device.findtext("index", "0")),
                "gpu_instance": int(device.findtext("gpu_instance_id", "0")),
                "compute_instance": int(device.findtext("compute_instance_id", "0")),
                "memory_mb": megabytes(device.findtext("fb_memory_usage/total")),
            }
            for device in node.findall("mig_devices/mig_device")
        ],
    }


def parse_csv(text: str) -> dict:
    """``nvidia-smi --query-gpu=<CSV_FIELDS>`` -> the shape of :func:`parse_xml`. Raises ValueError on anything else."""
    gpus = []
    drivers = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(CSV_FIELDS) or not cells[0].isdigit():
            raise ValueError(f"nvidia-smi --query-gpu printed: {line[:200]}")
        row = dict(zip(CSV_FIELDS, cells))
        drivers.append(known(row["driver_version"]))
        gpus.append(
            {
                "index": int(row["index"]),
                "name": known(row["name"]),
                "uuid": known(row["uuid"]),
                "bus_id": "",
                "architecture": "",
                "memory_mb": megabytes(known(row["memory.total"])),
                "coherent": False,
                "compute_capability": known(row["compute_cap"]),
                "mig": known(row["mig.mode.current"]).lower(),
                "mig_devices": [],
            }
        )
    if not gpus:
        raise ValueError("nvidia-smi --query-gpu printed nothing")
    return {"driver_version": drivers[0], "cuda_version": "", "gpus": gpus}


def settle_memory(gpus: list[dict], host_memory_mb: int, platform: str) -> list[dict]:
    """Say of each GPU whether its memory is the host's, and how much that is."""
    settled = []
    for gpu in gpus:
        nameless = gpu["memory_mb"] is None and platform in ("spark", "jetson")
        unified = bool(UNIFIED.search(gpu["name"])) or nameless
        memory = gpu["memory_mb"] or (host_memory_mb if unified else None)
        settled.append(dict(gpu, memory_mb=memory, unified=unified, coherent=gpu["coherent"] and not unified))
    return settled
