# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks on recorded facts, the parsers on recorded texts, and the probe on the machine that runs the tests."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import caches, engine, facts, installed, kernel, listeners, network, resolver, storage
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks import network as network_checks
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks import suite
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.options import ARGUMENTS

RECORDED = pathlib.Path(__file__).parent / "captures" / "hosts"
NETWORK = {"name": "nemoclaw", "subnet": "172.30.200.0/24", "address": "172.30.200.1", "ports": [8080]}
LIMITS = {name: option.get("default") for name, option in ARGUMENTS.items()}
LIMITS.update(openshell_min="0.0.72", openshell_max="0.1.0", network=NETWORK)
UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nVERSION="24.04.3 LTS (Noble Numbat)"\nID=ubuntu\nID_LIKE=debian\n'
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
# of a host of the test bed: sshd on all addresses, systemd-resolved's like, llama-server, two connections
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222321 1 00000000c142a12f 100 0 0 10 0
   1: 0100007F:A53D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 221599 1 00000000758b1c10 100 0 0 10 0
   2: 00000000:1FA6 00000000:0000 0A 00000000:00000000 00:00000000 00000000   995        0 222304 1 000000003ba5801f 100 0 0 10 0
   3: 0B00007F:976F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 219688 1 00000000ce4cbe6a 100 0 0 10 0
   4: 0C5ED50A:0016 015ED50A:C934 01 00000000:00000000 02:000AFBF0 00000000     0        0 269424 2 00000000e0cde5ce 20 4 30 44 -1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222329 1 0 100
   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222330 1 0 100
   2: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222331 1 0 100
"""
# of 10.213.94.7/24 and 10.213.94.8/24 on one interface
FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.213.94.0/24 2 0 2
        +-- 10.213.94.0/28 2 0 2
           |-- 10.213.94.0
              /24 link UNICAST
           |-- 10.213.94.7
              /32 host LOCAL
           |-- 10.213.94.8
              /32 host LOCAL
        |-- 10.213.94.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
"""
ROUTE = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	015ED50A	0003	0	0	0	00000000	0	0	0
eth0	005ED50A	00000000	0001	0	0	0	00FFFFFF	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
"""
CGROUP_V1 = """\
12:hugetlb:/
9:name=systemd:/docker/15a177833c0d/system.slice/llama-server.service
7:blkio:/docker/15a177833c0d
0::/docker/15a177833c0d/system.slice/llama-server.service
"""


# /etc/os-release of releases that are not in the test bed: Ubuntu's base-files, and DGX OS, which keeps Ubuntu's and adds /etc/dgx-release
RELEASES = {
    "ubuntu2204": (
        'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\nVERSION="22.04.5 LTS (Jammy Jellyfish)"\nVERSION_CODENAME=jammy\n'
        "ID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=jammy\n"
    ),
    "ubuntu2404": UBUNTU,
    "dgx-os": UBUNTU,
}


def recorded(name):
    """The facts of a host of the test bed, with its planned port only."""
    found = json.loads((RECORDED / f"{name}.json").read_text())
    found["ports"] = found["ports"][:1]
    return found


def on_hardware(found):
    """The same where the host is no container: cgroup version 2, a clock that is kept, resolvers of its network."""
    found.update(cgroup_version=2, clock={"synchronised": True, "service": "systemd-timesyncd", "offset_s": 0})
    found["dns"] = {"servers": ["10.1.0.1"], "answers": {"10.1.0.1": "NXDOMAIN"}, "container": ["10.1.0.1"], "default_bridge": ["10.1.0.1"]}
    return found


@pytest.fixture(params=["debian12", "debian13", *RELEASES])
def ready(request):
    """Facts of a host that is ready: two of the test bed, Ubuntu, and a DGX Spark (DGX OS with GPU facts, toolkit and a specification)."""
    name = request.param
    found = on_hardware(recorded(name if name.startswith("debian") else "debian13"))
    if name in RELEASES:
        found["distribution"] = facts.distribution(RELEASES[name])
    if name == "ubuntu2404":
        found.update(apparmor=True, user_namespaces="confined")
    if name == "dgx-os":
        gpu = {"index": 0, "name": "NVIDIA GB10", "memory_mb": 124610, "unified": True, "mig": "", "mig_devices": []}
        found.update(arch="aarch64", gpu=dict(found["gpu"], status="ok", detail="", platform="spark", gpus=[gpu], driver_version="580.95.05"))
        spec = {"path": "/var/run/cdi/nvidia.yaml", "kind": "nvidia.com/gpu", "devices": ["0", "all"]}
        found["cdi"].update(ctk="/usr/bin/nvidia-ctk", version="1.18.0", specs=[spec], units={"nvidia-cdi-refresh.path": "active"})
        found["docker"].update(version="28.3.3", cdi_spec_dirs=["/etc/cdi", "/var/run/cdi"])
    return found


@pytest.fixture
def host_facts():
    return on_hardware(recorded("debian12"))


def failed(found, **limits):
    return {one["name"]: one for one in suite.run(found, {**LIMITS, **limits}) if not one["ok"]}


def test_ready_host_has_no_fault(ready):
    assert failed(ready) == {}
    assert suite.summary(suite.run(ready, LIMITS)).endswith(": all well")


def test_a_host_of_the_test_bed_is_what_it_is():
    for name in ("debian12", "debian13"):
        assert {one: fault["severity"] for one, fault in failed(recorded(name)).items()} == {"clock_sync": "warning", "cgroup": "info", "dns_container": "info"}


def change(found, path, value):
    """A copy of the facts with one value changed; path as a.b.c."""
    found = copy.deepcopy(found)
    *parents, last = path.split(".")  # a path of a file system has no dot
    place = found
    for parent in parents:
        place = place[parent]
    place[last] = value
    return found


NO_ENGINE = {"present": True, "cli": "/usr/bin/docker", "running": False, "error": "", "packages": [], "snap": False, "rootless_sockets": []}
HOLDER = {"address": "0.0.0.0", "pid": 812, "process": "nginx", "unit": "nginx.service", "user": "www-data"}


@pytest.mark.parametrize(
    ("path", "value", "name", "severity", "detail", "remedy"),
    [
        ("arch", "riscv64", "platform", "error", "riscv64", "x86_64 and aarch64"),
        ("distribution", facts.distribution('ID=fedora\nVERSION_ID=44\nPRETTY_NAME="Fedora 44"'), "distribution", "warning", "Fedora 44", "debian 12"),
        ("distribution.version", "11", "distribution", "warning", "", "debian 12"),
        ("python.version", "3.8.10", "python", "error", "3.8.10", "ansible_python_interpreter"),
        ("python.modules.docker", "", "python_modules", "error", "missing: docker", "apt-get install python3-docker'"),
        ("init", "tini", "init", "error", "PID 1 is tini", "systemd"),
        ("glibc", "2.27", "glibc", "error", "2.27", "2.28"),
        ("glibc", "", "glibc", "error", "no glibc", "2.28"),
        ("landlock_abi", 0, "landlock", "warning", "no Landlock", "5.13"),
        ("cpus", 2, "cpus", "warning", "2 CPUs, 4 are the minimum", "CPUs"),
        ("memory_mb", 7600, "memory swap", "warning", "0 MB of swap, 7600 MB with the memory, 12000", "nemoclaw_preflight_repair: [swap]"),
        ("memory_mb", 12000, "memory", "info", "12000 MB, 15200 are recommended", "memory"),
        ("disks./.free_gb", 3, "disk_root", "warning", "3 GB free on /", "docker system df"),
        ("disks./.free_gb", 30, "disk_root", "info", "40 are recommended", "docker system df"),
        ("disks./.free_inodes_percent", 2, "inodes_root", "warning", "2 % of", "docker builder prune"),
        ("disks./var/lib/docker.type", "nfs4", "docker_data", "error", "is on nfs4", "data-root"),
        ("disks./var/lib/docker.type", "fuse.sshfs", "docker_data", "error", "is on fuse.sshfs", "data-root"),
        ("disks./var/lib/docker.options", ["noexec"], "docker_data", "error", "mounted noexec", "data-root"),
        ("disks./var/lib/docker.type", "tmpfs", "docker_data", "warning", "lost at a reboot", "data-root"),
        ("seccomp", False, "seccomp", "error", "no seccomp filters", "CONFIG_SECCOMP_FILTER"),
        ("cgroup_version", 1, "cgroup", "info", "version 1", "unified_cgroup_hierarchy"),
        ("cgroup_controllers", ["cpu", "pids"], "cgroup", "warning", "without memory", "cgroup_enable=memory"),
        ("overlay", False, "overlay", "warning", "no overlayfs", "modprobe overlay"),
        ("user_namespaces", "root", "user_namespaces", "info", "root only", "Nothing to do for OpenShell"),
        ("selinux", "enforcing", "mandatory_access", "warning", "SELinux enforcing", "ausearch"),
        ("clock.offset_s", -31536000, "clock", "error", "31536000 s behind the controller's", "nemoclaw_preflight_repair: [clock]"),
        ("clock.offset_s", 75, "clock", "warning", "75 s ahead of", "timedatectl set-ntp true"),
        ("clock", {"synchronised": False, "service": "", "offset_s": 0}, "clock_sync", "warning", "nothing keeps the clock", "systemd-timesyncd"),
        ("lingering", ["ann"], "linger", "warning", "for ann", "systemctl --user disable --now openshell-gateway"),
        ("users.nemoclaw", {"uid": 999, "groups": ["nemoclaw"]}, "docker_group", "error", "nemoclaw not in the group docker", "usermod -aG docker nemoclaw"),
        ("credential_helpers.nemoclaw", "docker-credential-desktop", "docker_credentials", "warning", "docker-credential-desktop", "credsStore"),
        ("docker.security_options", ["name=rootless"], "docker_rootless", "error", "rootless", "systemctl enable --now docker"),
        ("docker.snap", True, "docker_snap", "error", "snap", "snap remove docker"),
        ("docker.data_root", "/var/snap/docker/common/var-lib-docker", "docker_snap", "error", "snap", "apt-get install docker.io"),
        ("docker.packages", ["podman-docker"], "docker_engine", "error", "podman", "apt-get remove podman-docker"),
        ("docker.networks.nemoclaw", {"gateway_of": "", "mtu": 1500}, "network_name", "error", "is there, and not ours", "nemoclaw_gateway.name"),
        ("docker.networks.bridge.mtu", 9000, "mtu", "warning", "eth0 1500, larger networks: bridge 9000", '"mtu": 1500'),
        ("networks.mtu.eth0", 1400, "mtu", "warning", "eth0 1400", '"mtu": 1400'),
        ("dns.answers", {"10.1.0.1": ""}, "dns dns_container", "warning", "10.1.0.1: no answer", "/etc/"),
        ("dns.answers", {"10.1.0.1": "SERVFAIL"}, "dns dns_container", "warning", "10.1.0.1: SERVFAIL", "/etc/"),
        ("dns.container", ["10.9.9.9"], "dns_container", "warning", "10.9.9.9: no answer", "/etc/docker/daemon.json"),
        ("dns.default_bridge", ["8.8.8.8"], "dns_container", "info", "gives 8.8.8.8", "docker build"),
        (
            "firewall",
            {"manager": "ufw", "readable": True, "ports": [{"port": 8080, "verdict": "drop", "chain": "INPUT", "table": "iptables", "base": "INPUT"}]},
            "firewall",
            "error",
            "ufw (chain INPUT) drops what sandboxes (172.30.200.0/24) send to port 8080 of 172.30.200.1",
            "ufw allow in proto tcp from 172.30.200.0/24 to 172.30.200.1 port 8080",
        ),
        (
            "proxy",
            {"http_proxy": "http://p:3128", "https_proxy": "", "no_proxy": "localhost,127.0.0.0/8"},
            "docker_proxy",
            "warning",
            "the engine none",
            "proxies",
        ),
        ("docker.storage_driver", "vfs", "docker_storage", "warning", "vfs in /var/lib/docker", "overlay2"),
        ("docker.version", "19.3.9", "docker_version", "error", "19.3.9", "20.10.0"),
        ("docker.engine", "podman", "docker_engine", "error", "podman", "docker.io"),
        ("docker.errors", ["no space"], "docker_running", "error", "no space", "docker info"),
        ("docker", {**NO_ENGINE, "present": False, "cli": ""}, "docker_present", "error", "no Docker", "apt-get install docker.io"),
        (
            "docker",
            {**NO_ENGINE, "error": "[Errno 111] Connection refused"},
            "docker_running",
            "error",
            "Connection refused",
            "systemctl enable --now docker",
        ),
        (
            "docker",
            {**NO_ENGINE, "error": "[Errno 13] Permission denied"},
            "docker_running",
            "error",
            "Permission denied",
            "become",
        ),
        ("openshell.openshell", {"path": "/usr/local/bin/openshell", "version": "0.1.2"}, "openshell", "error", "0.1.2", "no inference routes"),
        ("openshell.openshell", {"path": "/usr/local/bin/openshell", "version": "0.0.36"}, "openshell", "error", "0.0.36", "cluster in a container"),
        ("openshell.openshell", {"path": "/usr/local/bin/openshell", "version": ""}, "openshell_unusable", "error", "unknown version", "from 0.0.72"),
        ("cdi.units", {"nvidia-cdi-refresh.service": "failed"}, "cdi_refresh", "warning", "nvidia-cdi-refresh.service failed", "journalctl"),
        ("existing", [{"kind": "nemoclaw", "what": "/home/ann/.nemoclaw/sandboxes.json"}], "existing", "info", "/home/ann", "left alone"),
        (
            "proxy",
            {"http_proxy": "", "https_proxy": "http://p:3128", "no_proxy": "localhost"},
            "docker_proxy proxy",
            "warning",
            "http://p:3128",
            "Add 127.0.0.1 to",
        ),
        ("gpu.status", "driver", "gpu", "warning", "", ""),
    ],
)
def test_fault(host_facts, path, value, name, severity, detail, remedy):
    faults = failed(change(host_facts, path, value))
    names = name.split()
    assert sorted(faults) == names
    assert faults[names[-1]]["severity"] == severity
    assert detail in faults[names[-1]]["detail"]
    assert remedy in faults[names[-1]]["remedy"]


@pytest.mark.parametrize(
    ("holder", "ours", "severity", "remedy"),
    [
        (HOLDER, "", "error", "Stop it ('systemctl disable --now nginx.service') or set nemoclaw_gateway.port to a free port."),
        ({**HOLDER, "unit": ""}, "", "error", "Stop it ('kill 812')"),
        ({**HOLDER, "unit": "", "pid": 0, "process": ""}, "", "error", "ss -ltnp sport = :8080"),
        ({**HOLDER, "unit": "docker.service", "process": "docker-proxy"}, "", "error", "docker ps --filter publish=8080"),
        ({**HOLDER, "unit": "nemoclaw-gateway.service"}, "", "error", "systemctl disable --now nemoclaw-gateway.service"),
        ({**HOLDER, "unit": "nemoclaw-two-gateway.service"}, "nemoclaw-gateway.service", "error", "set nemoclaw_gateway.port to a free port"),
        ({**HOLDER, "unit": "nemoclaw-gateway.service"}, "nemoclaw-gateway.service", None, None),
        ({**HOLDER, "unit": "nemoclaw-forward@a.service"}, "nemoclaw-gateway.service", "warning", "Another unit of this plan"),
    ],
)
def test_port_held(host_facts, holder, ours, severity, remedy):
    port = {"port": 8080, "address": "127.0.0.1", "purpose": "gateway", "ours": ours, "variable": "nemoclaw_gateway.port", "listeners": [holder]}
    dashboard = {**port, "port": 18789, "ours": "nemoclaw-forward@", "listeners": []}
    faults = failed(change(host_facts, "ports", [port, dashboard]))
    if severity is None:
        assert faults == {}
        return
    assert list(faults) == ["port_8080"]
    assert faults["port_8080"]["severity"] == severity
    assert remedy in faults["port_8080"]["remedy"]
    assert "127.0.0.1:8080 (gateway) is held by" in faults["port_8080"]["detail"]


def test_every_error_at_once_gravest_first(host_facts):
    broken = change(change(change(host_facts, "init", "tini"), "cpus", 1), "existing", [{"kind": "nemoclaw", "what": "x"}])
    results = suite.run(broken, LIMITS)
    assert [one["name"] for one in results[:3]] == ["init", "cpus", "existing"]
    assert all(one["ok"] for one in results[3:])
    assert suite.ok(results) is False
    lines = suite.table(results)
    assert [line.split()[0] for line in lines[:6]] == ["ERROR", "->", "WARNING", "->", "INFO", "->"]
    assert "PID 1 is tini" in lines[0]
    assert lines[0].index("PID 1") == lines[2].index("1 CPUs")
    assert [line.split()[0] for line in lines[6:-1]] == ["ok"] * (len(results) - 3)
    assert lines[-1] == f"{len(results)} checks: 1 error, 1 warning, 1 info"


def test_what_the_caller_repairs_is_a_warning(host_facts):
    broken = change(host_facts, "python.modules.requests", "")
    assert failed(broken, repair=["python_modules"])["python_modules"]["severity"] == "warning"


@pytest.mark.parametrize(
    ("repair", "path", "value"),
    [
        ("docker", "docker", {**NO_ENGINE, "present": False}),
        ("docker", "docker", NO_ENGINE),
        ("group", "users.nemoclaw", {"uid": 999, "groups": []}),
        ("firewall", "firewall.ports", [{"port": 8080, "verdict": "drop", "chain": "INPUT", "table": "iptables", "base": "INPUT"}]),
        ("clock", "clock.offset_s", 4000),
    ],
)
def test_a_repair_that_is_allowed_stops_nothing(host_facts, repair, path, value):
    broken = change(host_facts, path, value)
    (fault,) = failed(broken).values()
    assert fault["severity"] == "error"
    (fault,) = failed(broken, repair=[repair]).values()
    assert fault["severity"] == "warning"
    assert fault["remedy"] == "Repaired by this run."


def test_gpu_of_a_host_without_what_containers_need(host_facts):
    gpu = {"index": 0, "name": "NVIDIA L4", "memory_mb": 23034, "unified": False, "mig": "", "mig_devices": []}
    broken = change(host_facts, "gpu", dict(host_facts["gpu"], status="ok", detail="", platform="linux", gpus=[gpu], driver_version="470.256.02"))
    assert {name: one["severity"] for name, one in failed(broken).items()} == {
        "nvidia_driver": "warning", "nvidia_toolkit": "info", "docker_cdi": "info", "cdi": "info",
    }  # fmt: skip
    asked = failed(broken, gpu=True)
    assert [asked[name]["severity"] for name in ("nvidia_toolkit", "docker_cdi", "cdi")] == ["error"] * 3
    assert "Docker 20.10.24+dfsg1 knows no CDI" in asked["docker_cdi"]["detail"]
    assert {one["severity"] for one in failed(broken, gpu=True, repair=["cdi"]).values()} == {"warning"}
    assert failed(host_facts, gpu=True)["gpu"]["severity"] == "error"


def test_a_specification_of_other_gpus_is_stale(host_facts):
    gpus = [{"index": index, "name": "NVIDIA L4", "memory_mb": 23034, "unified": False, "mig": "", "mig_devices": []} for index in (0, 1)]
    found = change(host_facts, "gpu", dict(host_facts["gpu"], status="ok", platform="linux", gpus=gpus, driver_version="550.54"))
    found["cdi"].update(
        ctk="/usr/bin/nvidia-ctk", version="1.17.8", specs=[{"path": "/etc/cdi/nvidia.yaml", "kind": "nvidia.com/gpu", "devices": ["0", "all"]}]
    )
    found["docker"]["cdi_spec_dirs"] = ["/etc/cdi"]
    (fault,) = failed(found).values()
    assert (fault["name"], fault["detail"]) == ("cdi", "/etc/cdi/nvidia.yaml lacks nvidia.com/gpu=1")


@pytest.mark.parametrize(
    ("manager", "table", "base", "command"),
    [
        ("ufw", "iptables", "INPUT", "ufw allow in proto tcp from 172.30.200.0/24 to 172.30.200.1 port 8080"),
        ("firewalld", "inet firewalld", "filter_INPUT", "rule family=ipv4 source address=172.30.200.0/24 destination address=172.30.200.1 port port=8080"),
        ("", "iptables-legacy", "INPUT", "iptables-legacy -I INPUT -p tcp -s 172.30.200.0/24 -d 172.30.200.1 --dport 8080 -j ACCEPT"),
        ("nftables", "inet filter", "input", "nft insert rule inet filter input ip saddr 172.30.200.0/24 ip daddr 172.30.200.1 tcp dport 8080 accept"),
    ],
)
def test_the_rule_that_lets_sandboxes_through(host_facts, manager, table, base, command):
    blocked = {"port": 8080, "verdict": "drop", "chain": base, "table": table, "base": base}
    (fault,) = failed(change(host_facts, "firewall", {"manager": manager, "readable": True, "ports": [blocked]})).values()
    assert command in fault["remedy"]


def test_ports_of_services_are_told_and_never_a_fault(host_facts):
    holder = {**HOLDER, "process": "ollama", "unit": "ollama.service"}
    results = suite.run(change(host_facts, "services", [{"port": 11434, "purpose": "Ollama", "listeners": [holder]}]), LIMITS)
    (told,) = [one for one in results if one["name"] == "port_11434"]
    assert (told["ok"], told["severity"]) == (True, "info")
    assert "held by ollama (pid 812, user www-data, ollama.service)" in told["detail"]


def test_a_disk_for_models_is_looked_at_where_it_will_be(host_facts):
    found = change(host_facts, "disks./srv/models", {**host_facts["disks"]["/"], "purpose": "models", "free_gb": 60})
    wanted = [{"path": "/srv/models", "purpose": "models", "min_gb": 80}]
    assert failed(found, disks=wanted)["disk_srv_models"]["detail"] == "60 GB free on /srv/models (models), 80 are the minimum"


@pytest.mark.parametrize(
    ("wanted", "no_proxy", "excepted"),
    [
        ("127.0.0.1", "localhost,127.0.0.1", True),
        ("127.0.0.1", "localhost 127.0.0.0/8", True),
        ("172.30.200.0/24", "172.16.0.0/12", True),
        ("172.30.200.0/24", "172.30.200.1", False),
        ("host.openshell.internal", ".internal", True),
        ("host.openshell.internal", "*.openshell.internal", True),
        ("host.openshell.internal", "openshell", False),
        ("inference.local", "*", True),
        ("localhost", "", False),
    ],
)
def test_no_proxy(wanted, no_proxy, excepted):
    assert network_checks.excepted(wanted, no_proxy) is excepted


def test_two_programs_of_openshell_are_judged_each(host_facts):
    programs = {name: {"path": f"/usr/local/bin/{name}", "version": "0.0.106"} for name in installed.BINARIES}
    assert failed(change(host_facts, "openshell", programs)) == {}
    programs["openshell-gateway"]["version"] = "0.1.0"
    assert list(failed(change(host_facts, "openshell", programs))) == ["openshell_gateway"]


def test_distribution():
    assert facts.distribution(UBUNTU) == {"id": "ubuntu", "version": "24.04", "name": "Ubuntu 24.04.3 LTS", "like": ["debian"]}
    assert facts.distribution(DEBIAN)["version"] == "12"
    assert facts.distribution("") == {"id": "", "version": "", "name": "", "like": []}


def test_memory():
    assert facts.memory_of("MemTotal:       127600748 kB\nMemFree: 1 kB\nSwapTotal:       2097148 kB\n") == {"MemTotal": 124610, "SwapTotal": 2047}


def test_who_may_make_user_namespaces():
    assert kernel.user_namespaces("96363", "", "") == "all"
    assert kernel.user_namespaces("96363", "1", "1") == "confined"  # Ubuntu 24.04
    assert kernel.user_namespaces("96363", "0", "") == "root"
    assert kernel.user_namespaces("0", "1", "0") == kernel.user_namespaces("", "", "") == "none"


def test_controllers_of_cgroup_version_1():
    assert kernel.enabled("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t197\t1\nmemory\t4\t291\t0\npids\t8\t225\t1\n") == ["cpu", "pids"]


def test_the_file_system_of_a_path_that_is_not_there_yet(tmp_path):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    mounts = "overlay / overlay rw 0 0\n/dev/sda1 /srv ext4 rw,noexec,nodev 0 0\nnas:/x /srv/my\\040data nfs4 rw 0 0\n/dev/sdb1 /srv xfs ro 0 0\n"
    (tmp_path / "proc" / "self" / "mounts").write_text(mounts)
    (tmp_path / "srv" / "my data").mkdir(parents=True)
    found = storage.read(Host(str(tmp_path)), {"/srv/models/cache": "models", "/srv/my data/x": "more", "/var/lib/docker": "engine"})
    assert [(one["mount"], one["type"], one["options"]) for one in found.values()] == [
        ("/srv", "xfs", ["ro"]),  # what was mounted last is seen
        ("/srv/my data", "nfs4", []),
        ("/", "overlay", []),
    ]


def test_the_data_root_of_an_engine_that_is_off(tmp_path):
    host = Host(str(tmp_path))
    assert storage.data_root(host, {"data_root": "/srv/docker"}) == "/srv/docker"
    assert storage.data_root(host, {}) == "/var/lib/docker"
    (tmp_path / "etc" / "docker").mkdir(parents=True)
    (tmp_path / "etc" / "docker" / "daemon.json").write_text('{"data-root": "/data/docker"}')
    assert storage.data_root(host, {}) == "/data/docker"
    (tmp_path / "etc" / "docker" / "daemon.json").write_text("{broken")
    assert storage.data_root(host, {}) == "/var/lib/docker"


def test_both_places_of_an_engine_with_containerd_are_judged(host_facts):
    disks = {**host_facts["disks"], "/var/lib/containerd": {**host_facts["disks"]["/"], "type": "nfs4", "free_gb": 3}}
    found = failed({**host_facts, "disks": disks, "image_root": "/var/lib/containerd"})
    assert (found["docker_data"]["severity"], found["docker_data"]["detail"]) == ("error", "/var/lib/containerd is on nfs4 (/)")
    assert found["docker_data"]["remedy"] == "Put /var/lib/containerd on a local ext4 or xfs ('root' in /etc/containerd/config.toml)."
    assert found["disk_var_lib_containerd"]["severity"] == "warning"


def test_where_containerd_keeps_images(tmp_path):
    host = Host(str(tmp_path))
    assert storage.image_root(host, "docker", "/srv/docker") == "/srv/docker"
    assert storage.image_root(host, "containerd", "/srv/docker") == "/var/lib/containerd"
    for path, text, root in (
        ("etc/containerd/config.toml", 'disabled_plugins = ["cri"]\n\n#root = "/no"\n[plugins]\nroot = "/neither"\n', "/var/lib/containerd"),
        ("etc/containerd/config.toml", "version = 2\nroot = '/data/images'\nstate = '/run/containerd'\n[grpc]\n", "/data/images"),
        # one that the engine starts itself
        (
            "var/run/docker/containerd/containerd.toml",
            'root = "/srv/docker/containerd/daemon"\nstate = "/var/run/docker/containerd/daemon"\n',
            "/srv/docker/containerd/daemon",
        ),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        assert storage.image_root(host, "containerd", "/srv/docker") == root


def test_a_credential_helper_that_is_not_there(tmp_path):
    (tmp_path / "home" / "ann" / ".docker").mkdir(parents=True)
    config = tmp_path / "home" / "ann" / ".docker" / "config.json"
    config.write_text('{"credsStore": "desktop", "credHelpers": {"registry.example.org": "pass"}}')
    assert engine.credential_helper(Host(str(tmp_path)), "/home/ann") == "docker-credential-desktop"
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    for name in ("desktop", "pass"):
        (tmp_path / "usr" / "bin" / f"docker-credential-{name}").touch(mode=0o755)
    assert engine.credential_helper(Host(str(tmp_path)), "/home/ann") == ""
    config.write_text("[]")
    assert engine.credential_helper(Host(str(tmp_path)), "/home/ann") == ""
    assert engine.credential_helper(Host(str(tmp_path)), "/home/nobody") == ""


def test_proxies_of_all_sessions(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "environment").write_text('PATH="/usr/bin"\nHTTPS_PROXY="http://me:canary-password@proxy:3128"\nno_proxy=localhost,.example.org\n')
    found = network.proxies(Host(str(tmp_path)))
    assert found == {"http_proxy": "", "https_proxy": "http://me:********@proxy:3128", "no_proxy": "localhost,.example.org"}
    monkeypatch.setenv("https_proxy", "http://other:3128")
    assert network.proxies(Host(str(tmp_path)))["https_proxy"] == "http://other:3128"


def test_name_servers():
    assert resolver.nameservers("# x\nnameserver 127.0.0.53\noptions edns0\nnameserver fe80::1%eth0\nnameserver nonsense\n") == ["127.0.0.53", "fe80::1"]


def test_resolvers_behind_systemds_stub_and_what_docker_makes_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(resolver, "ask", lambda servers, timeout: dict.fromkeys(servers, "NXDOMAIN"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "resolv.conf").write_text("nameserver 127.0.0.53\n")
    assert resolver.read(Host(str(tmp_path)), [])["default_bridge"] == ["8.8.8.8", "8.8.4.4"]
    (tmp_path / "run" / "systemd" / "resolve").mkdir(parents=True)
    (tmp_path / "run" / "systemd" / "resolve" / "resolv.conf").write_text("nameserver 10.1.0.1\n")
    found = resolver.read(Host(str(tmp_path)), [])
    assert found == {"servers": ["10.1.0.1"], "answers": {"10.1.0.1": "NXDOMAIN"}, "container": ["10.1.0.1"], "default_bridge": ["10.1.0.1"]}
    found = resolver.read(Host(str(tmp_path)), ["10.7.7.7"])
    assert (found["container"], found["default_bridge"], sorted(found["answers"])) == (["10.7.7.7"], ["10.7.7.7"], ["10.1.0.1", "10.7.7.7"])


def test_a_server_that_resolves_one_that_is_silent_and_one_that_is_not_there(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(resolver, "PORT", server.getsockname()[1])
        silent.bind(("127.0.0.2", resolver.PORT))

        def resolve():
            packet, client = server.recvfrom(4096)
            asked.append(packet)
            server.sendto(bytes([packet[0] ^ 1]) + packet[1:2] + b"\x81\x83" + packet[4:], client)  # an answer to another question
            server.sendto(packet[:2] + b"\x81\x83" + packet[4:], client)

        asked = []
        thread = threading.Thread(target=resolve)
        thread.start()
        started = time.monotonic()
        answers = resolver.ask(["127.0.0.1", "127.0.0.2", "127.0.0.3"], 0.6)
        thread.join()
    assert time.monotonic() - started < 3
    assert answers == {"127.0.0.1": "NXDOMAIN", "127.0.0.2": "", "127.0.0.3": "Connection refused"}
    assert asked[0].endswith(b"\x07invalid\0\0\1\0\1")


def test_what_the_probe_waits_for_is_no_fault_of_the_clock(monkeypatch):
    now, read = [1_800_000_000.0], resolver.read

    def slow(*given):
        now[0] += 90
        return read(*given)

    monkeypatch.setattr(resolver, "read", slow)
    monkeypatch.setattr(time, "time", lambda: now[0])
    assert facts.gather(Host(), {**LIMITS, "ports": [], "controller_time": now[0]})["clock"]["offset_s"] == 0


def test_unit_states():
    shown = "Id=chrony.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\nId=ufw.service\nLoadState=not-found\n"
    assert facts.unit_states(shown)["chrony.service"]["ActiveState"] == "active"
    assert list(facts.unit_states(shown)) == ["chrony.service"]
    assert facts.unit_states("") == {}


def test_listening_sockets():
    found = [(one["address"], one["port"], one["uid"]) for one in listeners.parse(TCP)]
    assert found == [("0.0.0.0", 22, 0), ("127.0.0.1", 42301, 0), ("0.0.0.0", 8102, 995), ("127.0.0.11", 38767, 0)]
    assert [(one["address"], one["port"]) for one in listeners.parse(TCP6)] == [("::", 22), ("127.0.0.1", 8080), ("::1", 8081)]


@pytest.mark.parametrize(
    ("wanted", "listening", "collides"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::", True),
        ("0.0.0.0", "10.1.0.7", True),
        ("127.0.0.1", "10.1.0.7", False),
        ("localhost", "127.0.0.1", True),
    ],
)
def test_collides(wanted, listening, collides):
    assert listeners.collides(wanted, listening) is collides


def test_unit_of_a_process():
    assert listeners.unit_of(CGROUP_V1) == "llama-server.service"
    assert listeners.unit_of("0::/system.slice/nemoclaw-gateway.service") == "nemoclaw-gateway.service"
    assert listeners.unit_of("0::/system.slice/system-nemoclaw\\x2dagent.slice/nemoclaw-agent@assistant.service") == "nemoclaw-agent@assistant.service"


@pytest.mark.parametrize(
    "cgroups",
    [
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service",
        "1:name=systemd:/user.slice/user-1000.slice/user@1000.service/ollama.service",
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1.scope",
        "0::/user.slice/user-1000.slice/session-3.scope",
    ],
)
def test_what_a_user_runs_is_of_no_unit_of_the_system(cgroups):
    """A unit of the same name may be there; and to stop user@1000.service is to end the whole session."""
    assert listeners.unit_of(cgroups) == ""


def test_routes():
    assert network.routes(ROUTE) == ["10.213.94.0/24", "172.17.0.0/16"]


def test_every_address_of_the_host():
    """A second one of an interface too, and no broadcast address."""
    assert network.local(FIB_TRIE) == ["10.213.94.7", "10.213.94.8"]
    assert set(network.addresses().values()) - {"127.0.0.1"} <= set(network.local(Host().text("/proc/net/fib_trie")))


def test_engine_described():
    recorded = json.loads((RECORDED / "docker-26.1.5.json").read_text())
    found = engine.describe(recorded["version"], recorded["info"], recorded["networks"], [], [], recorded["images"], [])
    assert (found["engine"], found["version"], found["storage_driver"], found["data_root"]) == ("docker", "26.1.5+dfsg1", "overlay2", "/var/lib/docker")
    bridge = {"driver": "bridge", "subnets": ["172.17.0.0/16"], "gateway": "172.17.0.1", "interface": "docker0", "mtu": 1500, "gateway_of": ""}
    assert found["image_store"] == "docker"
    assert engine.describe({}, {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}, [], [], [], [], [])["image_store"] == "containerd"
    assert found["networks"]["bridge"] == bridge
    assert found["images"] == ["nf/sandbox:1", "vllm/vllm-openai@sha256:" + "ab" * 32]
    recorded["version"]["Components"][0]["Name"] = "Podman Engine"
    recorded["info"]["HttpProxy"] = "http://me:canary-password@proxy:3128"
    found = engine.describe(recorded["version"], recorded["info"], recorded["networks"], [], [], recorded["images"], [])
    assert found["engine"] == "podman"
    assert found["http_proxy"] == "http://me:********@proxy:3128"


def test_containers_of_others_that_have_a_name_of_ours():
    named = [
        {"Names": ["/nemoclaw-vllm"], "Labels": {engine.SERVER: "vllm", engine.SPEC: "{}"}},
        {"Names": ["/nemoclaw-nim"], "Labels": {"org.example": "1"}},
        {"Names": ["/nemoclaw-before"], "Labels": None},
    ]
    assert engine.describe({}, {}, [], [], [], [], named)["strangers"] == ["nemoclaw-before", "nemoclaw-nim"]


def test_engine_that_does_not_answer(tmp_path):
    (tmp_path / "var" / "run").mkdir(parents=True)
    (tmp_path / "var" / "run" / "docker.sock").touch()
    found = engine.read(Host(str(tmp_path)))
    assert (found["present"], found["running"]) == (True, False)
    assert found["error"]
    found = engine.read(Host(str(tmp_path / "empty")))
    assert found == {"cli": "", "present": False, "running": False, "error": "", "packages": [], "snap": False, "rootless_sockets": []}


def test_what_is_there_of_models(tmp_path, monkeypatch):
    cache = tmp_path / "srv" / "models"
    for model, size in (("nvidia--Small", 3000), ("own--big--one", 0)):
        (cache / "hub" / f"models--{model}" / "blobs").mkdir(parents=True)
        (cache / "hub" / f"models--{model}" / "blobs" / "0123.incomplete").write_bytes(bytes(size))
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mounts").write_text("/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /home xfs rw 0 0\n")
    (tmp_path / "home").mkdir()
    found = caches.read(Host(str(tmp_path)), ["/srv/models", "~no-such-user/.cache/huggingface"])
    assert found["/srv/models"]["models"] == {"nvidia/Small": {"": 3000}, "own/big/one": {"": 0}}
    there, absent = found["/srv/models"], found["~no-such-user/.cache/huggingface"]
    assert (there["mount"], absent["mount"], absent["models"]) == ("/", "/home", {})
    assert there["free_gb"] == os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize // 10**9


def test_files_of_a_model_by_the_revision_that_has_them(tmp_path):
    """A new revision is fetched, whatever there is of the old one; what both have is there."""
    (tmp_path / "blobs").mkdir()
    for name, size in {"old": 1, "new": 20, "both": 300, "none": 4000, "half.incomplete": 50000}.items():
        (tmp_path / "blobs" / name).write_bytes(bytes(size))
    for revision, names in {"r1": ["old", "both"], "r2": ["new", "both", "gone"]}.items():
        (tmp_path / "snapshots" / revision / "sub").mkdir(parents=True)
        for name in names:
            (tmp_path / "snapshots" / revision / "sub" / f"{name}.bin").symlink_to(f"../../../blobs/{name}")
    (tmp_path / "snapshots" / "r2" / "copied.json").write_text("{}")
    found = caches.sizes(str(tmp_path))
    assert found == {"r1": 301, "r2": 320, "": 54000}
    assert [caches.of_revision(found, revision) for revision in ("r1", "r2", "r3")] == [54301, 54320, 54000]


def test_installations_of_others(tmp_path):
    for path in (
        "home/ann/.nemoclaw/sandboxes.json",
        "home/nemoclaw/.nemoclaw/runs/1/plan.json",
        "home/ann/.local/state/nemoclaw/openshell-docker-gateway-8090/x",
        "usr/lib/systemd/user/openshell-gateway.service",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    ours = {"sandboxes": {"a": {"managedBy": "nemoclaw.fleet", "gatewayName": "nemoclaw"}}}
    (tmp_path / "home/nemoclaw/.nemoclaw/sandboxes.json").write_text(json.dumps(ours))
    (tmp_path / "home/both/.nemoclaw").mkdir(parents=True)
    (tmp_path / "home/both/.nemoclaw/sandboxes.json").write_text(json.dumps({"sandboxes": {**ours["sandboxes"], "b": {"agent": "openclaw"}}}))
    docker = {"sandboxes": [{"name": name, "gateway": name, "state": "running"} for name in ("theirs", "nemoclaw")]}
    found = installed.existing(Host(str(tmp_path)), docker, ["nemoclaw"])
    assert [(one["kind"], one["what"]) for one in found] == [
        ("nemoclaw", "/home/ann/.nemoclaw/sandboxes.json"),
        ("nemoclaw", "/home/both/.nemoclaw/sandboxes.json"),
        ("openshell", "/home/ann/.local/state/nemoclaw/openshell-docker-gateway-8090"),
        ("openshell", "/usr/lib/systemd/user/openshell-gateway.service"),
        ("sandbox", "sandbox theirs of gateway theirs (running)"),
    ]


def test_versions_of_programs(tmp_path):
    program = tmp_path / "openshell"
    program.write_text("#!/bin/sh\necho openshell 0.0.106\n")
    program.chmod(0o755)
    asked = installed.commands(Host(), str(tmp_path))
    found = installed.binaries(asked, facts.answers(Host(), asked))
    assert found["openshell"] == {"path": str(program), "version": "0.0.106"}


def test_a_command_that_hangs_is_given_up():
    started = time.monotonic()
    hung, ended = Host().run(("/bin/sleep", "60"), ("/bin/echo", "done"), timeout=0.5)
    assert time.monotonic() - started < 5
    assert hung.rc is None
    assert (ended.rc, ended.stdout) == (0, "done\n")


def test_this_machine(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:canary-password@proxy.example:3128")
    user = facts.pwd.getpwuid(os.getuid()).pw_name
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ports = [{"port": port, "address": "127.0.0.1", "purpose": "test", "ours": "", "variable": ""}]
        spent = time.process_time()
        found = facts.gather(Host(), {**LIMITS, "users": [user, "no-such-user"], "ports": ports})
        spent = time.process_time() - spent
    assert spent < 2
    assert json.loads(json.dumps(found)) == found
    assert "canary-password" not in json.dumps(found)
    (holder,) = found["ports"][0]["listeners"]
    assert (holder["pid"], holder["user"], holder["address"]) == (os.getpid(), user, "127.0.0.1")
    assert found["users"]["no-such-user"] is None
    assert found["users"][user]["uid"] == os.getuid()
    assert found["python"]["version"] == ".".join(str(part) for part in sys.version_info[:3])
    assert found["disks"]["/"]["total_gb"] >= found["disks"]["/"]["free_gb"] >= 0
    assert "127.0.0.1" in found["networks"]["addresses"].values()
    assert {one["name"] for one in suite.run(found, LIMITS)} >= {"platform", "init", "docker_present", f"port_{port}", "gpu"}


def test_a_proxy_that_nemoclaw_left_behind_is_named(host_facts):
    """Its process is an interpreter; what is told is what it is, and that nothing else brings it back."""
    script = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script, "scripts/ollama-auth-proxy.js"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stale:
        port = int(stale.stdout.readline())
        wanted = {"port": port, "address": "0.0.0.0", "purpose": "proxy", "ours": "nemoclaw-proxy.service", "variable": "nemoclaw_proxy.port"}
        (found,) = listeners.read(Host(), [wanted])
        stale.stdin.close()
    fault = failed(change(host_facts, "ports", [found]))[f"port_{port}"]
    assert f"held by NemoClaw's own Ollama proxy (pid {stale.pid}" in fault["detail"]
    assert f"Stop it ('kill {stale.pid}') and do not use NemoClaw's own command line" in fault["remedy"]


def test_a_listener_that_ends_while_it_is_looked_at_is_none():
    """A unit that systemd starts again and again must not look like another program that holds the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inode = os.fstat(server.fileno()).st_ino

        class Racing(Host):
            """The listener is in the kernel's table, and then gone."""

            def text(self, path):
                table = super().text(path)
                if path == "/proc/net/tcp":
                    server.close()
                return table

        assert str(inode) in Host().text("/proc/net/tcp")
        (found,) = listeners.read(Racing(), [{"port": port, "address": "127.0.0.1"}])
    assert found["listeners"] == []


def test_a_busy_process_is_seen_to_hold_its_port(monkeypatch):
    """Of a process that opens and closes connections all the time, some are gone before they are read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        readlink = os.readlink

        def gone(path, **options):
            if str(path).endswith("/0"):
                raise FileNotFoundError(path)
            return readlink(path, **options)

        monkeypatch.setattr(os, "readlink", gone)
        (found,) = listeners.read(Host(), [{"port": server.getsockname()[1], "address": "127.0.0.1"}])
    assert [holder["pid"] for holder in found["listeners"]] == [os.getpid()]


def test_a_host_that_has_nothing_is_told_so_without_a_crash(tmp_path):
    """No /proc, no /sys, no program: what such a host lacks is an error each, and nothing is guessed."""
    options = {
        **LIMITS,
        "users": ["root", "nobody-here"],
        "ports": recorded("debian12")["ports"],
        "services": [{"port": 11434, "purpose": "Ollama"}],
        "gpu": True,
    }
    found = facts.gather(Host(str(tmp_path)), options)
    assert json.loads(json.dumps(found)) == found
    errors = {one["name"] for one in suite.run(found, options) if one["severity"] == "error" and not one["ok"]}
    assert errors >= {"init", "seccomp", "docker_present", "gpu", "nvidia_toolkit", "cdi"}


def test_facts_are_the_same_twice():
    first, second = (facts.gather(Host(), {**LIMITS, "users": ["root"]}) for _time in range(2))
    for one in (first, second):
        for disk in one["disks"].values():
            for name in ("free_gb", "free_inodes_percent"):
                disk.pop(name)
        # other tests may use this machine's engine meanwhile
        for name in ("containers_running", "images", "networks", "sandboxes", "strangers"):
            one["docker"].pop(name, None)
        for name in ("networks", "dns", "cdi", "clock", "servers", "existing", "swap_mb"):
            one.pop(name)
    assert json.dumps(first) == json.dumps(second)
