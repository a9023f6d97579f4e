# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was repaired, seen from outside: packets pass, swap is there. Also after a reboot, without a run."""

import time

# a machine of its own on the sandboxes' network: what a container of the engine is to the firewall
SANDBOX = """
ip netns add probe && trap 'ip netns del probe' EXIT
ip link add probe0 type veth peer name eth0 netns probe
ip link set probe0 master $(ip -o -4 addr show to 172.30.200.1 | awk '{print $2}') up
ip -n probe addr add 172.30.200.9/24 dev eth0 && ip -n probe link set eth0 up
ip netns exec probe timeout 3 bash -c 'exec 3<>/dev/tcp/172.30.200.1/PORT'
"""


def connects(host, port):
    return host.run(SANDBOX.replace("PORT", str(port))).rc == 0


def test_a_sandbox_reaches_the_gateway_and_nothing_else(host):
    for _try in range(20):
        if connects(host, 8080):
            break
        time.sleep(0.5)  # after a boot its server takes a moment
    assert connects(host, 8080)
    assert connects(host, 22), "ssh is open by the rules of the host"
    assert not connects(host, 8102), "the model server was not asked for"


def test_the_way_through_the_firewall_is_a_unit(host):
    service = host.service("nemoclaw-firewall-nemoclaw")
    assert service.is_running
    assert service.is_enabled
    assert host.check_output("nft list chain inet filter input").count("nemoclaw.fleet-nemoclaw") == 1


def test_swap(host):
    file = host.file(f"/var/lib/docker/swap-{host.check_output('hostname')}")
    assert (file.mode, file.size) == (0o600, 64 << 20)
    assert host.check_output("cat /etc/fstab").splitlines()[-1] == f"{file.path} none swap sw 0 0"
    host.check_output("swapon --all")  # what systemd does at the boot of a machine, not of a container
    assert file.path in host.file("/proc/swaps").content_string
