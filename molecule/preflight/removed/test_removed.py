# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What repairs have made is gone, what was there before is not."""


def test_nothing_is_left(host):
    swap = f"/var/lib/docker/swap-{host.check_output('hostname')}"
    assert not host.file(swap).exists
    assert swap not in host.file("/etc/fstab").content_string
    assert swap not in host.file("/proc/swaps").content_string
    assert not host.file("/etc/systemd/system/nemoclaw-firewall-nemoclaw.service").exists


def test_the_firewall_is_as_it_was(host):
    rules = host.check_output("nft list chain inet filter input")
    assert "policy drop" in rules
    assert "tcp dport 22 accept" in rules
    assert "172.30.200.0/24" not in rules
