# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks on recorded facts, the parsers on recorded texts, and the probe on the machine that runs the tests."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import socket
import sys
import time

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import checks, engine, facts, listeners
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

RECORDED = pathlib.Path(__file__).parent / "captures" / "hosts"
LIMITS = {
    "min_cpus": 4,
    "min_memory_mb": 8192,
    "min_disk_gb": 20,
    "min_glibc": "2.28",
    "docker_min": "20.10.0",
    "openshell_min": "0.0.72",
    "openshell_max": "0.1.0",
    "own_units": ["nemoclaw-"],
    "repair": [],
}
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


@pytest.fixture(params=["debian12", "debian13", "ubuntu2404", "dgx-spark"])
def ready(request):
    """Facts of a host that is ready: two of the test bed, an Ubuntu, and a DGX Spark (Ubuntu with GPU facts)."""
    recorded = {"debian12": "debian12", "debian13": "debian13"}.get(request.param, "debian13")
    found = json.loads((RECORDED / f"{recorded}.json").read_text())
    found["ports"] = found["ports"][:1]
    if recorded != request.param:
        found["distribution"] = facts.distribution(UBUNTU)
    if request.param == "dgx-spark":
        gpu = {"name": "NVIDIA GB10", "memory_mb": 124610, "unified": True}
        found.update(arch="aarch64", gpu=dict(found["gpu"], status="ok", detail="", platform="spark", gpus=[gpu]))
    return found


@pytest.fixture
def host_facts():
    found = json.loads((RECORDED / "debian12.json").read_text())
    found["ports"] = found["ports"][:1]
    return found


def failed(found, **limits):
    return {one["name"]: one for one in checks.run(found, {**LIMITS, **limits}) if not one["ok"]}


def test_ready_host_has_no_fault(ready):
    assert failed(ready) == {}
    assert checks.report(checks.run(ready, LIMITS)) == []


def change(found, path, value):
    """A copy of the facts with one value changed; path as a.b.c."""
    found = copy.deepcopy(found)
    *parents, last = path.split(".")
    place = found
    for parent in parents:
        place = place[parent]
    place[last] = value
    return found


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
        ("memory_mb", 4000, "memory", "warning", "4000 MB, 8192 are the minimum", "memory"),
        ("disks", {"/": {"free_gb": 3, "total_gb": 40}}, "disk_root", "warning", "3 GB free on /", "docker system df"),
        ("docker.storage_driver", "vfs", "docker_storage", "warning", "vfs in /var/lib/docker", "overlay2"),
        ("docker.version", "19.3.9", "docker_version", "error", "19.3.9", "20.10.0"),
        ("docker.engine", "podman", "docker_engine", "error", "podman", "docker.io"),
        ("docker.errors", ["no space"], "docker_running", "error", "no space", "docker info"),
        ("docker", {"present": False, "cli": "", "running": False, "error": ""}, "docker_present", "error", "no Docker", "apt-get install docker.io"),
        (
            "docker",
            {"present": True, "cli": "/usr/bin/docker", "running": False, "error": "[Errno 111] Connection refused"},
            "docker_running",
            "error",
            "Connection refused",
            "systemctl enable --now docker",
        ),
        (
            "docker",
            {"present": True, "cli": "", "running": False, "error": "[Errno 13] Permission denied"},
            "docker_running",
            "error",
            "Permission denied",
            "become",
        ),
        ("openshell.openshell", {"path": "/usr/local/bin/openshell", "version": "0.1.2"}, "openshell", "error", "0.1.2", "below 0.1.0"),
        ("openshell.openshell", {"path": "/usr/local/bin/openshell", "version": "0.0.36"}, "openshell", "error", "0.0.36", "from 0.0.72"),
        ("openshell.openshell", {"path": "/usr/local/bin/openshell", "version": ""}, "openshell", "error", "unknown version", "from 0.0.72"),
        ("existing", [{"kind": "nemoclaw", "what": "/home/ann/.nemoclaw/sandboxes.json"}], "existing", "info", "/home/ann", "left alone"),
        ("proxy", {"http_proxy": "", "https_proxy": "http://p:3128", "no_proxy": "localhost"}, "proxy", "warning", "http://p:3128", "Add 127.0.0.1 to"),
        ("gpu.status", "driver", "gpu", "warning", "", ""),
    ],
)
def test_fault(host_facts, path, value, name, severity, detail, remedy):
    faults = failed(change(host_facts, path, value))
    assert list(faults) == [name]
    assert faults[name]["severity"] == severity
    assert detail in faults[name]["detail"]
    assert remedy in faults[name]["remedy"]


@pytest.mark.parametrize(
    ("holder", "ours", "severity", "remedy"),
    [
        (HOLDER, "", "error", "Stop it ('systemctl disable --now nginx.service') or set nemoclaw_gateway.port to a free port."),
        ({**HOLDER, "unit": ""}, "", "error", "Stop it ('kill 812')"),
        ({**HOLDER, "unit": "", "pid": 0, "process": ""}, "", "error", "ss -ltnp sport = :8080"),
        ({**HOLDER, "unit": "docker.service", "process": "docker-proxy"}, "", "error", "docker ps --filter publish=8080"),
        ({**HOLDER, "unit": "nemoclaw-gateway.service"}, "", None, None),
        ({**HOLDER, "unit": "nemoclaw-gateway.service"}, "nemoclaw-gateway.service", None, None),
        ({**HOLDER, "unit": "nemoclaw-forward@a.service"}, "nemoclaw-gateway.service", "warning", "Another unit of this collection"),
    ],
)
def test_port_held(host_facts, holder, ours, severity, remedy):
    port = {"port": 8080, "address": "127.0.0.1", "purpose": "gateway", "ours": ours, "variable": "nemoclaw_gateway.port", "listeners": [holder]}
    faults = failed(change(host_facts, "ports", [port]))
    if severity is None:
        assert faults == {}
        return
    assert list(faults) == ["port_8080"]
    assert faults["port_8080"]["severity"] == severity
    assert remedy in faults["port_8080"]["remedy"]
    assert "127.0.0.1:8080 (gateway) is held by" in faults["port_8080"]["detail"]


def test_every_error_at_once_gravest_first(host_facts):
    broken = change(change(change(host_facts, "init", "tini"), "cpus", 1), "existing", [{"kind": "nemoclaw", "what": "x"}])
    results = checks.run(broken, LIMITS)
    assert [one["name"] for one in results[:3]] == ["init", "cpus", "existing"]
    assert all(one["ok"] for one in results[3:])
    lines = checks.report(results)
    assert [line.split()[0] for line in lines] == ["ERROR", "WARNING", "INFO"]
    assert "PID 1 is tini" in lines[0]
    assert "->" in lines[0]


def test_what_the_caller_repairs_is_a_warning(host_facts):
    broken = change(host_facts, "python.modules.requests", "")
    assert failed(broken, repair=["python_modules"])["python_modules"]["severity"] == "warning"


def test_two_programs_of_openshell_are_judged_each(host_facts):
    programs = {name: {"path": f"/usr/local/bin/{name}", "version": "0.0.106"} for name in facts.BINARIES}
    assert failed(change(host_facts, "openshell", programs)) == {}
    programs["openshell-gateway"]["version"] = "0.1.0"
    assert list(failed(change(host_facts, "openshell", programs))) == ["openshell_gateway"]


def test_distribution():
    assert facts.distribution(UBUNTU) == {"id": "ubuntu", "version": "24.04", "name": "Ubuntu 24.04.3 LTS", "like": ["debian"]}
    assert facts.distribution(DEBIAN)["version"] == "12"
    assert facts.distribution("") == {"id": "", "version": "", "name": "", "like": []}


def test_memory():
    assert facts.memory_of("MemTotal:       127600748 kB\nMemFree: 1 kB\nSwapTotal:       2097148 kB\n") == {"MemTotal": 124610, "SwapTotal": 2047}


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
    assert listeners.unit_of("0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service") == "ollama.service"
    assert listeners.unit_of("0::/user.slice/user-1000.slice/session-3.scope") == ""


def test_routes():
    assert facts.routes(ROUTE) == ["10.213.94.0/24", "172.17.0.0/16"]


def test_engine_described():
    recorded = json.loads((RECORDED / "docker-26.1.5.json").read_text())
    found = engine.describe(recorded["version"], recorded["info"], recorded["networks"])
    assert (found["engine"], found["version"], found["storage_driver"], found["data_root"]) == ("docker", "26.1.5+dfsg1", "overlay2", "/var/lib/docker")
    assert found["networks"]["bridge"] == {"driver": "bridge", "subnets": ["172.17.0.0/16"], "gateway": "172.17.0.1"}
    recorded["version"]["Components"][0]["Name"] = "Podman Engine"
    recorded["info"]["HttpProxy"] = "http://me:canary-password@proxy:3128"
    found = engine.describe(recorded["version"], recorded["info"], recorded["networks"])
    assert found["engine"] == "podman"
    assert found["http_proxy"] == "http://me:********@proxy:3128"


def test_engine_that_does_not_answer(tmp_path):
    (tmp_path / "var" / "run").mkdir(parents=True)
    (tmp_path / "var" / "run" / "docker.sock").touch()
    found = engine.read(Host(str(tmp_path)))
    assert (found["present"], found["running"]) == (True, False)
    assert found["error"]
    assert engine.read(Host(str(tmp_path / "empty"))) == {"cli": "", "present": False, "running": False, "error": "", "packages": []}


def test_installations_of_others(tmp_path):
    for path in (
        "home/ann/.nemoclaw/sandboxes.json",
        "home/nemoclaw/.nemoclaw/runs/1/plan.json",
        "home/ann/.local/state/nemoclaw/openshell-docker-gateway-8090/x",
        "usr/lib/systemd/user/openshell-gateway.service",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = facts.existing(Host(str(tmp_path)), {})
    assert [(one["kind"], one["what"]) for one in found] == [
        ("nemoclaw", "/home/ann/.nemoclaw/sandboxes.json"),
        ("openshell", "/home/ann/.local/state/nemoclaw/openshell-docker-gateway-8090"),
        ("openshell", "/usr/lib/systemd/user/openshell-gateway.service"),
    ]


def test_versions_of_programs(tmp_path):
    program = tmp_path / "openshell"
    program.write_text("#!/bin/sh\necho openshell 0.0.106\n")
    program.chmod(0o755)
    found = facts.binaries(Host(), str(tmp_path))
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
        found = facts.gather(Host(), [user, "no-such-user"], ports, "/usr/local/bin", 5)
        spent = time.process_time() - spent
    assert spent < 0.5
    assert json.loads(json.dumps(found)) == found
    assert "canary-password" not in json.dumps(found)
    (holder,) = found["ports"][0]["listeners"]
    assert (holder["pid"], holder["user"], holder["address"]) == (os.getpid(), user, "127.0.0.1")
    assert found["users"]["no-such-user"] is None
    assert found["users"][user]["uid"] == os.getuid()
    assert found["python"]["version"] == ".".join(str(part) for part in sys.version_info[:3])
    assert found["disks"]["/"]["total_gb"] >= found["disks"]["/"]["free_gb"] >= 0
    assert "127.0.0.1" in found["networks"]["addresses"].values()
    assert {one["name"] for one in checks.run(found, LIMITS)} >= {"platform", "init", "docker_present", f"port_{port}", "gpu"}


def test_facts_are_the_same_twice():
    first, second = (facts.gather(Host(), ["root"], [], "/usr/local/bin", 5) for _time in range(2))
    for one in (first, second):
        for disk in one["disks"].values():
            disk.pop("free_gb")
        one["docker"].pop("containers_running", None)
        one["docker"].pop("networks", None)
        one.pop("networks")
    assert json.dumps(first) == json.dumps(second)
