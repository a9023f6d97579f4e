# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What repairs of a host would change. That they do it is tested on test hosts (molecule/preflight)."""

from __future__ import annotations

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import clock, firewall, repairs, swap
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

SWAP = {"kind": "swap", "name": "/swapfile-nemoclaw", "size_mb": 8192, "least_mb": 12000}
WAY = {"kind": "firewall", "name": "nemoclaw", "subnet": "172.30.200.0/24", "address": "172.30.200.1", "ports": [8080]}
OURS = {"ours": True, "size_mb": 8192, "active": True}


def fields(resource, state):
    return {change.field: (change.before, change.after) for change in resource.diff(state)}


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        ({"without_mb": 12000}, {}),
        ({"without_mb": 7900}, {"state": ("absent", "present"), "size_mb": (0, 8192)}),
        ({"without_mb": 7900, **OURS}, {}),
        ({"without_mb": 64000, **OURS}, {}),  # memory was added: what was made stays until the host is offboarded
        ({"without_mb": 7900, **OURS, "size_mb": 4096}, {"size_mb": (4096, 8192)}),
        ({"without_mb": 7900, **OURS, "active": False}, {"active": (False, True)}),
        ({"without_mb": 7900, "ours": True, "size_mb": 0, "active": False}, {"size_mb": (0, 8192), "active": (False, True)}),  # interrupted
        ({"without_mb": 7900, "ours": False, "size_mb": 8192, "active": False}, {"active": (False, True), "ours": (False, True)}),
        ({"without_mb": 64000, "ours": False, "size_mb": 8192, "active": False}, {}),
    ],
)
def test_swap(state, changes):
    assert fields(swap.Swap(SWAP), state) == changes


def test_swap_of_others_is_not_taken_away():
    gone = swap.Swap({**SWAP, "state": "absent"})
    assert fields(gone, {"without_mb": 7900, **OURS, "ours": False}) == {}
    assert fields(gone, {"without_mb": 7900}) == {}
    assert fields(gone, {"without_mb": 7900, **OURS}) == {"state": ("present", "absent")}
    with pytest.raises(ResourceError, match="was not made by this collection"):
        swap.Swap(SWAP).apply({"without_mb": 7900, **OURS, "ours": False}, [])


def test_whose_swap_is_told_by_fstab(tmp_path, monkeypatch):
    file, fstab, swaps, memory = (tmp_path / name for name in ("swapfile", "fstab", "swaps", "meminfo"))
    for name, path in (("FSTAB", fstab), ("SWAPS", swaps), ("MEMINFO", memory)):
        monkeypatch.setattr(swap, name, str(path))
    memory.write_text("MemTotal:        8025432 kB\nMemFree: 1 kB\n")
    swaps.write_text(f"Filename Type Size Used Priority\n/dev/sda2 partition 2097148 0 -2\n{file} file 4194300 0 -3\n")
    mine = swap.Swap({**SWAP, "name": str(file)})
    line = f"{file} none swap sw 0 0"
    fstab.write_text(f"UUID=1 / ext4 defaults 0 1\n{line}\n")
    file.touch()
    assert mine.read() == {"without_mb": 7837 + 2047, "ours": False, "size_mb": 0, "active": True}
    fstab.write_text(f"{swap.OURS}\n/other none swap sw 0 0\n{swap.OURS}\n{line}\nUUID=1 / ext4 defaults 0 1\n")
    assert mine.read()["ours"] is True
    mine._drop()
    assert fstab.read_text() == f"{swap.OURS}\n/other none swap sw 0 0\nUUID=1 / ext4 defaults 0 1\n"
    assert not file.exists()


def test_a_disk_without_room_is_left_alone(tmp_path, monkeypatch):
    fstab = tmp_path / "fstab"
    fstab.write_text("UUID=1 / ext4 defaults 0 1\n")
    monkeypatch.setattr(swap, "FSTAB", str(fstab))
    large = swap.Swap({**SWAP, "name": str(tmp_path / "swapfile"), "size_mb": 1 << 30})
    with pytest.raises(ResourceError, match="MiB free, a swap file of"):
        large.apply({"without_mb": 7900}, [])
    assert [path.name for path in tmp_path.iterdir()] == ["fstab"]
    assert fstab.read_text() == "UUID=1 / ext4 defaults 0 1\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A swap file of 1 MiB that is known as ours and not in use, and the programs that are called for it."""
    mine = swap.Swap({**SWAP, "name": str(tmp_path / "swapfile"), "size_mb": 1})
    (tmp_path / "swapfile").write_bytes(bytes(1 << 20))
    (tmp_path / "fstab").write_text(f"{swap.OURS}\n{mine.entry}\n")
    (tmp_path / "swaps").touch()
    for name in ("fstab", "swaps"):
        monkeypatch.setattr(swap, name.upper(), str(tmp_path / name))
    mine.called = []
    monkeypatch.setattr(swap, "call", lambda *argv, **_more: mine.called.append(argv[0]))
    return mine


def test_swap_that_was_interrupted_is_made_anew(mine):
    """Of its size already, and without the signature that swapon wants."""
    mine.apply(mine.read(), mine.changes())
    assert mine.called == ["mkswap", "swapon"]


def test_swap_in_use_stays_where_there_is_no_room_for_another_size(mine):
    large = swap.Swap({**mine.desired, "size_mb": 1 << 30})
    with pytest.raises(ResourceError, match="MiB free, a swap file of"):
        large.apply({**large.read(), "active": True}, [])
    assert not mine.called


def test_firewall():
    blocked = [{"port": 8080, "verdict": "drop", "chain": "INPUT", "table": "iptables", "base": "INPUT"}]
    assert fields(firewall.Firewall(WAY), {"manager": "", "made": False, "blocked": []}) == {}
    assert fields(firewall.Firewall(WAY), {"manager": "ufw", "made": True, "blocked": blocked}) == {"port 8080": ("dropped", "accepted")}
    gone = firewall.Firewall({**WAY, "state": "absent"})
    assert fields(gone, {"made": False, "blocked": blocked}) == {}
    assert fields(gone, {"made": True, "blocked": []}) == {"state": ("present", "absent")}


def test_clock():
    assert fields(clock.Clock({"name": "system"}), {"kept": False}) == {"kept": (False, True)}
    assert fields(clock.Clock({"name": "system"}), {"kept": True}) == {}
    assert fields(clock.Clock({"name": "system", "state": "absent"}), {"kept": True}) == {}


def test_a_plan_of_before_repairs_has_none():
    assert repairs.wanted({}) == []
    assert repairs.wanted({"repair": {"wanted": [], "repairs": [SWAP, WAY]}}) == []
    assert [one.kind for one in repairs.wanted({"repair": {"wanted": ["swap", "docker"], "repairs": [SWAP, WAY]}})] == ["swap"]
