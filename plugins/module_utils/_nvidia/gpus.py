# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NVIDIA GPUs of a host and its platform: nvidia-smi, firmware and the PCI bus together. Private to the collection."""

from __future__ import annotations

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import platform, smi
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host, Outcome

FIRMWARE = {
    "product_name": "/sys/class/dmi/id/product_name",
    "product_family": "/sys/class/dmi/id/product_family",
    "board_name": "/sys/class/dmi/id/board_name",
    "model": "/sys/firmware/devicetree/base/model",
}
TEGRA_NODES = ("/dev/nvhost-gpu", "/dev/nvhost-ctrl-gpu", "/dev/nvhost-ctrl", "/dev/nvmap")
INSTALL_DRIVER = "Install the NVIDIA driver of this distribution (on DGX OS it is part of the image), then check with 'nvidia-smi'."


def read(host: Host, memory_mb: int, timeout: float = 20) -> dict:
    """The C(gpu) facts, see RETURN of gpu_info for their shape. C(memory_mb) is the host's, which unified GPUs share."""
    program = host.which("nvidia-smi", "/usr/lib/wsl/lib")
    answer = _ask(host, program, timeout) if program else {"status": "missing", "detail": "nvidia-smi is not installed", "remedy": INSTALL_DRIVER}
    firmware = {name: text for name, text in ((name, host.text(path)) for name, path in FIRMWARE.items()) if text}
    dgx = platform.parse_dgx_release(host.text("/etc/dgx-release"))
    gpus = answer.get("gpus", [])
    kind, evidence = platform.identify(firmware, dgx, [gpu["name"] for gpu in gpus], any(host.exists(node) for node in TEGRA_NODES), _nvidia_on_pci(host))
    if kind == "none" and not program:
        answer = {"status": "none", "detail": "no NVIDIA GPU", "remedy": ""}
    elif kind == "jetson" and not program:
        answer = _jetson_without_smi(firmware)
        gpus = answer["gpus"]
    gpus = smi.settle_memory(gpus, memory_mb, kind)
    return {
        "status": answer["status"],
        "detail": answer["detail"],
        "remedy": answer["remedy"],
        "source": answer.get("source", ""),
        "platform": kind,
        "evidence": evidence,
        "product": firmware.get("product_name") or firmware.get("model", ""),
        "dgx": dgx,
        "driver_version": answer.get("driver_version", ""),
        "cuda_version": answer.get("cuda_version", ""),
        "unified_memory": any(gpu["unified"] for gpu in gpus),
        "gpus": gpus,
    }


def _ask(host: Host, program: str, timeout: float) -> dict:
    """Both queries side by side: the XML has everything but the compute capability, which the CSV adds, and stands in for it."""
    xml, csv = host.run((program, *smi.XML_QUERY), (program, *smi.CSV_QUERY), timeout=timeout)
    return judge(xml, csv, timeout)


def judge(xml: Outcome, csv: Outcome, timeout: float) -> dict:
    """What two answers of nvidia-smi come to. Pure."""
    problems = []
    parsed = {}
    for source, outcome, parse in (("xml", xml, smi.parse_xml), ("csv", csv, smi.parse_csv)):
        if outcome.rc == 0:
            try:
                parsed[source] = parse(outcome.stdout)
            except ValueError as exc:
                problems.append(("failed", str(exc), "Run 'nvidia-smi' on the host and mend what it reports."))
        elif outcome.rc is None:
            remedy = "See 'dmesg | grep -iE \"nvrm|xid\"'; a GPU that hangs needs a reset ('nvidia-smi --gpu-reset') or a reboot."
            problems.append(("timeout", f"nvidia-smi did not answer within {timeout:g} s", remedy))
        else:
            problems.append(smi.explain(outcome.rc, outcome.output))
    answer = parsed.get("xml") or parsed.get("csv")
    if not answer or not answer["gpus"]:
        status, detail, remedy = problems[0] if problems else smi.explain(6, "No devices were found")
        return {"status": status, "detail": detail, "remedy": remedy}
    capabilities = {gpu["index"]: gpu["compute_capability"] for gpu in parsed.get("csv", answer)["gpus"]}
    gpus = [dict(gpu, compute_capability=capabilities.get(gpu["index"], "")) for gpu in answer["gpus"]]
    return dict(answer, gpus=gpus, status="ok", detail="", remedy="", source="xml" if "xml" in parsed else "csv")


def _nvidia_on_pci(host: Host) -> bool:
    return any(host.text(f"{device}/vendor") == "0x10de" and host.text(f"{device}/class").startswith("0x03") for device in host.glob("/sys/bus/pci/devices/*"))


def _jetson_without_smi(firmware: dict[str, str]) -> dict:
    """JetPack before 6 has no nvidia-smi; the GPU is part of the module that the device tree names."""
    gpu = {"index": 0, "name": firmware.get("model", "Tegra"), "uuid": "", "bus_id": "", "architecture": "", "memory_mb": None, "coherent": False,
           "compute_capability": "", "mig": "", "mig_devices": []}  # fmt: skip
    return {"status": "ok", "detail": "", "remedy": "", "source": "devicetree", "gpus": [gpu]}
