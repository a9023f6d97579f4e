# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded answers of nvidia-smi that are not XML hold part of what its XML and CSV say: each part becomes the facts it should.

The text of ``nvidia-smi -q`` is the tree of ``-q -x`` in other clothes, the plain table holds four columns of the CSV.
"""

from __future__ import annotations

import pathlib
import re
from xml.etree import ElementTree

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import smi

CAPTURES = pathlib.Path(__file__).parent / "captures" / "nvidia-smi"
HOST_MEMORY = 124610
# machine -> name, memory in MiB (None: what the host has), MIG, number of GPUs, their memory is coherent with the host's
MACHINES = {
    "a100-sxm-x4": ("NVIDIA A100-SXM4-80GB", 81920, "disabled", 4, False),
    "gb10": ("NVIDIA GB10", None, "", 1, False),
    "gh200": ("NVIDIA GH200 480GB", 97871, "disabled", 1, True),
    "h100-sxm-x8": ("NVIDIA H100 80GB HBM3", 81559, "disabled", 8, False),
    "h200": ("NVIDIA H200", 143771, "disabled", 1, False),
    "l40s": ("NVIDIA L40S", 46068, "", 1, False),
    "rtx5090": ("NVIDIA GeForce RTX 5090", 32607, "", 1, False),
}
TAGS = {"gpu_uuid": "uuid"}  # labels whose tag is another word


def xml_of(text: str) -> str:
    """The document that ``-q -x`` prints where ``-q`` printed this text."""
    root = ElementTree.Element("nvidia_smi_log")
    parents = [root]
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        label, value = (part.strip() for part in (line.split(" : ", 1) if " : " in line else (line, "")))
        gpu = re.fullmatch(r"GPU ([0-9A-F:.]+)", label)
        if gpu:
            node = ElementTree.SubElement(root, "gpu", id=gpu[1])
            parents = [root, node]
            continue
        tag = re.sub(r"\W+", "_", label).lower()
        tag = "current_mig" if parents[-1].tag == "mig_mode" and tag == "current" else TAGS.get(tag, tag)
        parents = parents[: depth + 1]
        ElementTree.SubElement(parents[depth], tag).text = value
        parents.append(parents[depth][-1])
    return ElementTree.tostring(root, encoding="unicode")


def csv_of(table: str) -> str:
    """The CSV of the same GPUs, as far as the table knows it."""
    driver = re.search(r"Driver Version: (\S+)", table)[1]
    rows = re.findall(r"^\|\s+(\d+)  (\S.*?)\s+(?:On|Off)  \|.*\n\|[^|]*\|([^|]*)\|.*\n\|[^|]*\|[^|]*\|\s*(\S+)", table, re.MULTILINE)
    memories = [re.search(r"/\s*(\d+)MiB", memory) for _index, _name, memory, _mig in rows]
    return "".join(
        f"{index}, {name}, [N/A], {memory[1] if memory else '[N/A]'}, {driver}, {mig}, [N/A]\n" for (index, name, _memory, mig), memory in zip(rows, memories)
    )


def facts(parsed: dict) -> list[tuple]:
    return [(gpu["name"], gpu["memory_mb"], gpu["mig"], gpu["unified"]) for gpu in smi.settle_memory(parsed["gpus"], HOST_MEMORY, "linux")]


def expected(machine: str) -> list[tuple]:
    name, memory, mig, count, _coherent = MACHINES[machine]
    return [(name, memory or HOST_MEMORY, mig, memory is None)] * count


@pytest.mark.parametrize("machine", MACHINES)
def test_long_text(machine):
    text = (CAPTURES / f"{machine}__q.txt").read_text()
    parsed = smi.parse_xml(xml_of(text))
    assert facts(parsed) == expected(machine)
    assert parsed["driver_version"] == re.search(r"Driver Version\s+: (\S+)", text)[1]
    assert [gpu["coherent"] for gpu in parsed["gpus"]] == [MACHINES[machine][4]] * MACHINES[machine][3]
    assert len({gpu["bus_id"] for gpu in parsed["gpus"]}) == MACHINES[machine][3]


@pytest.mark.parametrize("machine", MACHINES)
def test_table(machine):
    parsed = smi.parse_csv(csv_of((CAPTURES / f"{machine}__table.txt").read_text()))
    assert facts(parsed) == expected(machine)


def test_columns_of_a_gb10():
    """What is printed in place of its memory and without units is no number."""
    answers = dict(re.findall(r"--query-gpu=(\S+) .*\n(.*)", (CAPTURES / "gb10__csv.txt").read_text()))
    for columns, line in answers.items():
        recorded = dict(zip(columns.split(","), line.split(", ")))
        row = {"index": "0", "memory.total": "[N/A]", **recorded}
        parsed = smi.parse_csv(", ".join(row.get(field, "[N/A]") for field in smi.CSV_FIELDS))
        assert facts(parsed) == expected("gb10")
    assert len(answers) == 3


def test_every_capture_is_tested():
    machines = {path.name.partition("__")[0] for kind in ("q", "table") for path in CAPTURES.glob(f"*__{kind}.txt")}
    assert machines == set(MACHINES)
