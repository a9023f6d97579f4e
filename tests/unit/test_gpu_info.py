# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every recorded nvidia-smi, and machines laid out as files, become the facts of gpu_info."""

from __future__ import annotations

import pathlib
import re
import textwrap
import time

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import gpus, platform, smi
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host, Outcome

CAPTURES = pathlib.Path(__file__).parent / "captures" / "nvidia-smi"
HOST_MEMORY = 124610
SPARK_RELEASE = """\
DGX_NAME="DGX Spark"
DGX_PRETTY_NAME="NVIDIA DGX Spark"
DGX_SWBUILD_VERSION="7.2.3"
DGX_PLATFORM="DGX Server for KVM"
DGX_SERIAL_NUMBER="1983925007777"

DGX_OTA_VERSION="7.3.1"
DGX_OTA_DATE="Thu Jan 15 19:07:36 CET 2026"

DGX_OTA_VERSION="7.6.0"
DGX_OTA_DATE="mer. 16 sept. 2026 17:08:05 CEST"
"""
NO_RELEASE = platform.parse_dgx_release("")


def capture(name: str) -> str:
    return (CAPTURES / name).read_text()


@pytest.mark.parametrize(
    ("name", "driver", "cuda", "count", "product", "architecture", "memory_mb", "coherent", "mig"),
    [
        ("k8s-test-infra__hardware-qx-a100.xml", "570.148.08", "12.8", 1, "NVIDIA A100-SXM4-40GB", "Ampere", 40960, False, "disabled"),
        ("k8s-test-infra__hardware-qx-b200.xml", "580.105.08", "13.0", 8, "NVIDIA B200", "Blackwell", 183359, False, "disabled"),
        ("k8s-test-infra__hardware-qx-gb200.xml", "580.173.02", "13.0", 4, "NVIDIA GB200", "Blackwell", 189471, True, "disabled"),
        ("k8s-test-infra__hardware-qx-gb300.xml", "580.173.02", "13.0", 4, "NVIDIA GB300", "Blackwell", 284208, True, "disabled"),
        ("k8s-test-infra__hardware-qx-h100.xml", "580.105.08", "13.0", 8, "NVIDIA H100 80GB HBM3", "Hopper", 81559, False, "disabled"),
        ("k8s-test-infra__hardware-qx-l40s.xml", "595.91.07", "13.2", 1, "NVIDIA L40S", "Ada Lovelace", 46068, False, ""),
        ("k8s-test-infra__hardware-qx-t4.xml", "595.91.07", "13.2", 1, "Tesla T4", "Turing", 15360, False, ""),
        ("telegraf__a100-sxm4-80gb-mig-v12.xml", "535.54.03", "12.2", 1, "NVIDIA A100-SXM4-80GB", "Ampere", 81920, False, "enabled"),
    ],
)
def test_xml(name, driver, cuda, count, product, architecture, memory_mb, coherent, mig):
    found = smi.parse_xml(capture(name))
    found["gpus"] = smi.settle_memory(found["gpus"], HOST_MEMORY, "linux")
    assert (found["driver_version"], found["cuda_version"], len(found["gpus"])) == (driver, cuda, count)
    assert [gpu["index"] for gpu in found["gpus"]] == list(range(count))
    for gpu in found["gpus"]:
        assert (gpu["name"], gpu["architecture"], gpu["memory_mb"]) == (product, architecture, memory_mb)
        assert (gpu["coherent"], gpu["unified"], gpu["mig"]) == (coherent, False, mig)


def test_every_xml_capture_is_tested():
    tested = {case[0] for mark in test_xml.pytestmark for case in mark.args[1]}
    assert tested == {path.name for path in CAPTURES.glob("*.xml")}


def test_mig_devices():
    first = smi.parse_xml(capture("telegraf__a100-sxm4-80gb-mig-v12.xml"))["gpus"][0]
    assert first["mig_devices"] == [{"index": index, "gpu_instance": index + 3, "compute_instance": 0, "memory_mb": 19968} for index in range(4)]


@pytest.mark.parametrize(
    # the values of recorded -q texts and tables, in the columns of CSV_FIELDS
    ("line", "name", "memory_mb", "unified", "capability", "mig"),
    [
        ("0, NVIDIA GB10, GPU-1, [N/A], 580.126.09, [N/A], 12.1", "NVIDIA GB10", HOST_MEMORY, True, "12.1", ""),
        ("0, NVIDIA GH200 480GB, GPU-1, 97871, 550.127.05, Disabled, 9.0", "NVIDIA GH200 480GB", 97871, False, "9.0", "disabled"),
        ("0, NVIDIA H200, GPU-1, 143771, 550.90.12, Disabled, 9.0", "NVIDIA H200", 143771, False, "9.0", "disabled"),
        ("0, NVIDIA H100 80GB HBM3, GPU-1, 81559, 565.57.01, Disabled, 9.0", "NVIDIA H100 80GB HBM3", 81559, False, "9.0", "disabled"),
        ("0, NVIDIA A100-SXM4-80GB, GPU-1, 81920, 555.42.02, Disabled, 8.0", "NVIDIA A100-SXM4-80GB", 81920, False, "8.0", "disabled"),
        ("0, NVIDIA L40S, GPU-1, 46068, 550.127.05, [N/A], 8.9", "NVIDIA L40S", 46068, False, "8.9", ""),
        ("0, NVIDIA GeForce RTX 5090, GPU-1, 32607, 570.124.06, [N/A], 12.0", "NVIDIA GeForce RTX 5090", 32607, False, "12.0", ""),
        ("0, Orin (nvgpu), [N/A], [N/A], 540.4.0, [N/A], 8.7", "Orin (nvgpu)", HOST_MEMORY, True, "8.7", ""),
    ],
)
def test_csv(line, name, memory_mb, unified, capability, mig):
    found = smi.parse_csv(line + "\n")
    (gpu,) = smi.settle_memory(found["gpus"], HOST_MEMORY, "linux")
    assert found["driver_version"] == line.split(", ")[4]
    assert (gpu["name"], gpu["memory_mb"], gpu["unified"], gpu["compute_capability"], gpu["mig"]) == (name, memory_mb, unified, capability, mig)


def test_station_has_two_gpus_of_different_kind():
    """A DGX Station's first GPU is the one for the display."""
    text = (
        "0, NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition, GPU-1, 97887, 595.84, [N/A], 12.0\n"
        "1, NVIDIA GB300, GPU-2, 256703, 595.84, Disabled, 10.3\n"
    )
    found = smi.settle_memory(smi.parse_csv(text)["gpus"], HOST_MEMORY, "station")
    assert [(gpu["memory_mb"], gpu["unified"]) for gpu in found] == [(97887, False), (256703, False)]


def recorded_failures():
    pattern = r"^\$ [^\n]*?(?:# (?P<what>[^\n]*)|(?P<bare>[^\n]*))\n(?P<output>.*?)^\[rc=(?P<rc>\d+)\]$"
    for found in re.finditer(pattern, capture("real__error-outputs.txt"), re.MULTILINE | re.DOTALL):
        yield int(found["rc"]), found["output"]


def test_recorded_failures():
    statuses = [smi.explain(rc, output)[0] for rc, output in recorded_failures()]
    assert statuses == ["driver", "driver", "driver", "library", "no_devices"]


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.163", "driver"),
        ("Unable to determine the device handle: Insufficient Permissions", "permission"),
        ("Segmentation fault", "failed"),
    ],
)
def test_failures(output, status):
    found, detail, remedy = smi.explain(1, output)
    assert found == status
    assert output.split("\n", maxsplit=1)[0] in detail
    assert remedy


@pytest.mark.parametrize(
    ("firmware", "dgx", "names", "tegra", "pci", "expected"),
    [
        ({"product_name": "NVIDIA_DGX_Spark"}, NO_RELEASE, [], False, False, "spark"),
        ({"product_name": "DGX Spark"}, NO_RELEASE, ["JMJWOA-Generic-1"], False, True, "spark"),
        ({"product_name": "GX10"}, NO_RELEASE, ["NVIDIA GB10"], False, True, "spark"),
        ({"product_name": "HP ZGX Nano G1n AI Station"}, platform.parse_dgx_release("DGX_NAME=DGX Spark\n"), [], False, True, "spark"),
        ({"product_name": "NVIDIA DGX Station GB300"}, NO_RELEASE, ["NVIDIA GB300"], False, True, "station"),
        ({"product_name": "NVIDIA DGX Station-GB300 Rev A"}, NO_RELEASE, [], False, False, "station"),
        ({"product_name": "Dell Pro Max with Station GB300"}, NO_RELEASE, [], False, False, "station"),
        ({"product_name": "GB300 DGX Station"}, NO_RELEASE, [], False, False, "station"),
        ({"product_name": "x", "board_name": "P3830"}, NO_RELEASE, [], False, False, "station"),
        ({"product_name": "x"}, platform.parse_dgx_release('DGX_PLATFORM="DGX Server for GALAXY-GB300"'), ["NVIDIA GB300"], False, True, "station"),
        ({"model": "NVIDIA Jetson AGX Orin Developer Kit"}, NO_RELEASE, [], False, False, "jetson"),
        ({}, NO_RELEASE, [], True, False, "jetson"),
        ({"product_name": "DGXA100 920-23687-2531-001"}, platform.parse_dgx_release('DGX_NAME="DGX Server"'), ["NVIDIA A100-SXM4-40GB"], False, True, "linux"),
        ({"product_name": "H12DGO-6"}, platform.parse_dgx_release('DGX_PLATFORM="DGX Server for H12DGO-6"'), [], False, True, "linux"),
        ({"product_name": "Standard PC"}, platform.parse_dgx_release(SPARK_RELEASE), [], False, False, "none"),
        ({"product_name": "GB100"}, NO_RELEASE, ["NVIDIA GB100"], False, True, "linux"),
    ],
)
def test_platform(firmware, dgx, names, tegra, pci, expected):
    found, evidence = platform.identify(firmware, dgx, names, tegra, pci)
    assert found == expected
    assert bool(evidence) == (expected != "none")


def test_dgx_release_takes_the_last_update_and_leaves_the_serial_number():
    found = platform.parse_dgx_release(SPARK_RELEASE)
    assert found == {"name": "DGX Spark", "platform": "DGX Server for KVM", "version": "7.2.3", "ota_version": "7.6.0"}


class Machine:
    """A host laid out below a directory, with a nvidia-smi that is a shell script."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.file("usr/bin/.keep", "")

    def file(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def nvidia_smi(self, xml: str, csv: str) -> None:
        self.file("usr/bin/nvidia-smi", f'#!/bin/sh\ncase "$1" in\n-q) {xml};;\n*) {csv};;\nesac\n', 0o755)

    def gpus(self, timeout: float = 5) -> dict:
        return gpus.read(Host(str(self.root)), HOST_MEMORY, timeout)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


CSV_T4 = "echo '0, Tesla T4, GPU-0, 15360, 595.91.07, [N/A], 7.5'"


def test_xml_first_with_the_compute_capability_of_the_csv(machine):
    machine.nvidia_smi(f"cat {CAPTURES}/k8s-test-infra__hardware-qx-t4.xml", CSV_T4)
    found = machine.gpus()
    assert (found["status"], found["source"], found["platform"], found["cuda_version"]) == ("ok", "xml", "linux", "13.2")
    assert found["gpus"][0]["compute_capability"] == "7.5"


def test_csv_stands_in_for_a_cut_off_xml(machine):
    machine.nvidia_smi(f"head -c 4000 {CAPTURES}/k8s-test-infra__hardware-qx-t4.xml", CSV_T4)
    found = machine.gpus()
    assert (found["status"], found["source"], found["gpus"][0]["memory_mb"]) == ("ok", "csv", 15360)


def test_xml_alone_where_the_driver_knows_no_compute_capability(machine):
    machine.nvidia_smi(f"cat {CAPTURES}/k8s-test-infra__hardware-qx-t4.xml", "echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2")
    found = machine.gpus()
    assert (found["status"], found["gpus"][0]["compute_capability"]) == ("ok", "")


def test_spark(machine):
    machine.file("sys/class/dmi/id/product_name", "NVIDIA_DGX_Spark\n")
    machine.file("etc/dgx-release", SPARK_RELEASE)
    machine.nvidia_smi("exit 1", "echo '0, NVIDIA GB10, GPU-0, [N/A], 580.126.09, [N/A], 12.1'")
    found = machine.gpus()
    assert (found["platform"], found["product"], found["unified_memory"]) == ("spark", "NVIDIA_DGX_Spark", True)
    assert found["gpus"][0]["memory_mb"] == HOST_MEMORY
    assert found["evidence"] == ["product_name=NVIDIA_DGX_Spark"]
    assert "1983925007777" not in str(found)


def test_spark_that_reports_a_placeholder_name(machine):
    machine.file("sys/class/dmi/id/product_name", "NVIDIA_DGX_Spark\n")
    machine.nvidia_smi("exit 1", "echo '0, JMJWOA-Generic-1, GPU-0, [N/A], 580.126.09, [N/A], 12.1'")
    assert machine.gpus()["gpus"][0]["unified"] is True


def test_hanging(machine):
    machine.nvidia_smi("sleep 60", "sleep 60")
    started = time.monotonic()
    found = machine.gpus(timeout=0.5)
    assert time.monotonic() - started < 5
    assert found["status"] == "timeout"
    assert "0.5 s" in found["detail"]
    assert "dmesg" in found["remedy"]


def test_driver_not_loaded(machine):
    text = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running."
    machine.nvidia_smi(*[f'echo "{text}"; exit 9'] * 2)
    found = machine.gpus()
    assert (found["status"], found["platform"], found["gpus"]) == ("driver", "none", [])
    assert "modprobe nvidia" in found["remedy"]


def test_gpu_without_nvidia_smi(machine):
    machine.file("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    machine.file("sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")
    found = machine.gpus()
    assert (found["status"], found["platform"]) == ("missing", "linux")
    assert "driver" in found["remedy"]


def test_network_card_of_nvidia_is_no_gpu(machine):
    machine.file("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    machine.file("sys/bus/pci/devices/0000:01:00.0/class", "0x020000\n")
    found = machine.gpus()
    assert (found["status"], found["platform"], found["remedy"]) == ("none", "none", "")


def test_jetson_without_nvidia_smi(machine):
    machine.file("sys/firmware/devicetree/base/model", "NVIDIA Jetson AGX Orin Developer Kit\0")
    found = machine.gpus()
    assert (found["status"], found["platform"], found["source"]) == ("ok", "jetson", "devicetree")
    assert (found["gpus"][0]["memory_mb"], found["gpus"][0]["unified"]) == (HOST_MEMORY, True)


def test_no_devices(machine):
    machine.nvidia_smi("echo 'No devices were found'; exit 6", "echo 'No devices were found'; exit 6")
    assert machine.gpus()["status"] == "no_devices"


def test_garbage_is_a_failure_not_a_traceback():
    answer = gpus.judge(Outcome(0, "<html>", ""), Outcome(0, "what?", ""), 5)
    assert answer["status"] == "failed"
    assert answer["remedy"]


def test_documented_statuses_are_the_ones_there_are():
    from ansible_collections.nemoclaw.fleet.plugins.modules import gpu_info

    documented = re.search(r"choices: \[(ok, none[^\]]*)\]", textwrap.dedent(gpu_info.RETURN))
    assert documented
    used = {status for _pattern, status, _remedy in smi.FAILURES} | {"ok", "none", "missing", "timeout", "failed"}
    assert set(documented[1].split(", ")) == used
