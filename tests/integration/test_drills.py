# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failure drills: the run says what is wrong and what to do, a sandbox keeps its container and its files, and once the cause is gone one run converges.

Two hosts (h1 with the Docker of Debian 12, h2 with that of Debian 13) have a fault each in the same run. They start without a gateway and become hosts with
an agent by runs that are interrupted at every step. The agent is one that starts at once (quick_agent.py).
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.bed.hosts import Host
from tests.bed.paths import CHECKOUT
from tests.bed.play import Play
from tests.integration.fleet import ANSWER, Fleet, answer, changed, unchanged

pytestmark = pytest.mark.long
HOSTS = ("h1", "h2")
BOTH = ",".join(HOSTS)
STATE = "/home/nemoclaw/.nemoclaw/gateway"
UNITS = ("nemoclaw-forward@assistant-18789", "nemoclaw-agent@assistant", "nemoclaw-gateway")
GATEWAY_ALONE = """
- hosts: all
  gather_facts: false
  become: true
  tasks:
    - ansible.builtin.include_role:
        name: nemoclaw.fleet.gateway
"""


@pytest.fixture(scope="module")
def drilled(fleet):
    """Hosts without a gateway: as an offboarding left them, or fresh ones."""
    if any(fleet[name].exec("test", "-e", "/etc/nemoclaw-nemoclaw.json", check=False).returncode == 0 for name in HOSTS):
        fleet.fresh()
    fleet.of_host = {name: {} for name in fleet.names}
    fleet.touched.update(HOSTS)
    for name in HOSTS:
        fleet.serve(name, key=fleet.key, alias="tiny-agent")
    return fleet


@pytest.fixture
def kept(drilled):
    """The sandboxes of both hosts have a file, which they and their containers must still have at the end."""
    containers = {name: container(drilled[name]) for name in HOSTS}
    for name in HOSTS:
        drilled.inside(name, "echo mine > /sandbox/notes")
    yield drilled
    for name in HOSTS:
        assert container(drilled[name]) == containers[name]
        assert drilled.inside(name, "cat /sandbox/notes") == "mine"


def container(host: Host) -> str:
    return host.sh("docker ps --all --quiet --no-trunc --filter label=openshell.ai/sandbox-name=assistant")


def message(run: Play, host: str) -> str:
    """What the run says of a host that it failed on, as the summary at its end has it."""
    lines = run.output.rpartition("SUMMARY")[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{host}: FAILED"))
    return "\n".join(itertools.takewhile(lambda line: not line.startswith(tuple(f"{name}:" for name in HOSTS if name != host)), lines[start:]))


def says(run: Play, host: str, *words: str) -> None:
    """The run failed on the host, and its message has all these words."""
    assert run.recap[host]["failed"] == 1
    said = message(run, host)
    assert [word for word in words if word not in said] == [], said


def converges(fleet: Fleet, **variables) -> Play:
    """One run puts everything right, the next one finds nothing to do. Returns the first."""
    run = fleet.play("onboard.yml", limit=BOTH, variables=variables or None)
    assert run.rc == 0
    again = fleet.play("onboard.yml", limit=BOTH, variables=variables or None)
    assert [name for name in HOSTS if not unchanged(again, name)] == []
    return run


def steps(path: str, role: str) -> list[str]:
    """The tasks of a role's file as a run announces them."""
    tasks = yaml.safe_load((CHECKOUT / "roles" / role / "tasks" / path).read_text())
    return [f"TASK [nemoclaw.fleet.{role} : {task['name']}]" for task in tasks]


def interrupt(fleet: Fleet, playbook: str, announced: list[str], **options) -> None:
    """Kill a run at each of these tasks, each run one task later than the one before; the hosts take turns, side by side."""

    def on(host: str, mine: list[str]) -> None:
        for task in mine:
            run = fleet.play(playbook, limit=host, kill_at=task, **options)
            assert run.rc == -9, f"{task}: exit {run.rc}"

    with ThreadPoolExecutor() as pool:
        list(pool.map(on, HOSTS, (announced[number :: len(HOSTS)] for number in range(len(HOSTS)))))


def test_interrupted_at_any_task_of_role_gateway(drilled):
    playbook = drilled.directory / "gateway.yml"
    playbook.write_text(GATEWAY_ALONE)
    variables = {f"gateway_{name}": drilled.variables[f"nemoclaw_{name}"] for name in ("openshell", "credentials")}
    interrupt(drilled, playbook, steps("main.yml", "gateway")[1:], variables=variables)
    run = drilled.play(playbook, limit=BOTH, variables=variables)
    assert run.rc == 0
    again = drilled.play(playbook, limit=BOTH, variables=variables)
    assert (again.rc, again.changed) == (0, 0)


def test_disk_full_during_the_image_build(drilled):
    """The engine's own temporary files have no room."""
    for name in HOSTS:
        drilled[name].sh("mkdir -p /var/lib/docker/tmp && mount -t tmpfs -o size=4k tmpfs /var/lib/docker/tmp")
    run = drilled.play("onboard.yml", limit=BOTH)
    for name in HOSTS:
        drilled[name].sh("umount /var/lib/docker/tmp")
    for name in HOSTS:
        says(run, name, "disk of /var/lib/docker, where the engine keeps its images, is full", "docker system df")


def test_interrupted_at_the_steps_of_role_sandbox(drilled):
    interrupt(drilled, "onboard.yml", steps("present.yml", "sandbox")[1:])
    run = converges(drilled)
    assert {name: answer(run, name) for name in HOSTS} == dict.fromkeys(HOSTS, ANSWER)


def test_gateway_killed_and_engine_restarted(kept):
    """Everything is back by itself."""
    kept["h1"].sh("kill -9 $(systemctl show --value -p MainPID nemoclaw-gateway)")
    kept["h2"].sh("systemctl restart docker")
    seconds = [round(kept.await_agent(name), 1) for name in HOSTS]
    print(f"agent and model answer again after {seconds} s")
    run = kept.play("onboard.yml", limit=BOTH)
    assert [name for name in HOSTS if not unchanged(run, name)] == []


def test_engine_down(kept):
    """h1: stopped by somebody, with the units that would start it again. h2: it does not start, as its configuration is broken."""
    kept["h1"].exec("systemctl", "stop", *UNITS, "docker.socket", "docker.service")
    kept["h2"].sh("mkdir -p /etc/docker && cd /etc/docker && mv daemon.json kept.json; echo '{' > daemon.json", check=False)
    kept["h2"].exec("systemctl", "stop", *UNITS)
    kept["h2"].exec("systemctl", "restart", "docker", check=False)
    run = kept.play("onboard.yml", limit=BOTH)
    says(run, "h1", "systemctl enable --now docker", "nothing was changed")
    says(run, "h2", "journalctl -u docker", "nothing was changed")
    kept["h2"].sh("cd /etc/docker && rm daemon.json && mv kept.json daemon.json", check=False)
    converges(kept, nemoclaw_preflight_repair=["docker"])


SQUATTER = """
import socket, time
while True:
    try:
        server = socket.create_server(("127.0.0.1", {port}))
        break
    except OSError:
        time.sleep(0.01)
time.sleep(3600)
"""


def test_ports_taken_by_another_program(kept):
    taken = {"h1": (8080, "nemoclaw-gateway", "nemoclaw_gateway.port"), "h2": (18789, "nemoclaw-forward@assistant-18789", "dashboard_port")}
    for name, (port, unit, _variable) in taken.items():
        kept[name].exec("systemd-run", "--quiet", "--collect", "--unit=squatter", "python3", "-c", SQUATTER.format(port=port))
        kept[name].sh(f"systemctl stop {unit}; until ss -ltnpH src 127.0.0.1:{port} | grep --quiet python3; do sleep 0.1; done", timeout=120)
    run = kept.play("onboard.yml", limit=BOTH)
    for name, (port, _unit, variable) in taken.items():
        says(run, name, f"127.0.0.1:{port}", "squatter.service", variable, "nothing was changed")
        kept[name].exec("systemctl", "stop", "squatter")
    converges(kept)


def test_database_read_only_and_keys_half_written(kept):
    """A key of TLS is made anew, with the rest of its set; the key that the sandboxes' tokens are signed with cannot be, or all of them would be lost."""
    kept["h1"].sh(f"chown root:root {STATE}/gateway.db && chmod 0444 {STATE}/gateway.db && systemctl restart nemoclaw-gateway", check=False)
    kept["h2"].sh(f": > {STATE}/tls/server/tls.key; systemctl restart nemoclaw-gateway", check=False)
    run = kept.play("onboard.yml", limit=BOTH)
    says(run, "h1", f"{STATE}/gateway.db", "chown")
    assert run.recap["h2"]["failed"] == 0
    kept["h1"].sh(f"chown nemoclaw:nemoclaw {STATE}/gateway.db && cd {STATE}/tls/jwt && cp -p signing.pem /root && : > signing.pem")
    kept["h1"].exec("systemctl", "restart", "nemoclaw-gateway", check=False)
    run = kept.play("onboard.yml", limit=BOTH)
    says(run, "h1", f"{STATE}/tls/jwt", "from a backup")
    assert unchanged(run, "h2")
    kept["h1"].exec("mv", "/root/signing.pem", f"{STATE}/tls/jwt/signing.pem")
    converges(kept)


LAST_YEAR = "import time; now = time.time; time.time = lambda: now() - 365 * 86400"
EXPIRE = """
import datetime
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
with open("ca.key", "rb") as file:
    key = serialization.load_pem_private_key(file.read(), None)
with open("server/tls.crt", "rb") as file:
    good = x509.load_pem_x509_certificate(file.read())
year, now = datetime.timedelta(days=365), datetime.datetime.now()
builder = x509.CertificateBuilder(good.issuer, good.subject, good.public_key(), good.serial_number, now - 2 * year, now - year)
for extension in good.extensions:
    builder = builder.add_extension(extension.value, extension.critical)
with open("server/tls.crt", "wb") as file:
    file.write(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
"""


def test_names_dead_and_clock_a_year_off(kept):
    """h1 cannot resolve the name of its model server. On h2 it is last year for Python, then the server's certificate ran out last year (all hosts here
    share one kernel's clock)."""
    names = kept["h1"].read_file("/etc/resolv.conf")
    kept["h1"].exec("tee", "/etc/resolv.conf", input="nameserver 192.0.2.1\noptions timeout:1 attempts:1\n")
    kept.change("h1", "nemoclaw_inference", endpoint_url="http://models.example.org:8102/v1")
    kept["h2"].write_file("/opt/last-year/usercustomize.py", LAST_YEAR)
    kept["h2"].write_file("/opt/last-year/python3", '#!/bin/sh\nPYTHONPATH=/opt/last-year exec /usr/bin/python3 "$@"\n', mode="0755")
    kept.of_host["h2"]["ansible_python_interpreter"] = "/opt/last-year/python3"
    run = kept.play("onboard.yml", limit=BOTH)
    says(run, "h1", "nemoclaw_inference.endpoint_url", "models.example.org")
    says(run, "h2", "clock", "behind the controller's", "nemoclaw_preflight_repair", "nothing was changed")

    kept.of_host = {name: {} for name in kept.names}
    kept["h2"].exec("python3", "-", input=f"import os; os.chdir('{STATE}/tls')\n{EXPIRE}")
    kept["h2"].exec("systemctl", "restart", "nemoclaw-gateway")
    run = kept.play("onboard.yml", limit=BOTH)
    assert run.rc == 0
    warned = next(check for check in run.of_host("h1", "nemoclaw.fleet.host_probe")[0]["checks"] if check["name"] == "dns")
    assert (warned["ok"], warned["severity"]) == (False, "warning")
    assert "/etc/resolv.conf" in warned["remedy"]
    assert run.recap["h1"]["changed"] == 0
    assert any("certificate" in resource for resource in changed(run, "h2"))
    kept["h1"].exec("tee", "/etc/resolv.conf", input=names)
    converges(kept)
