# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a plan below OpenShell, for hosts with and without Docker and GPUs; what a host cannot give is said with the variable."""

from __future__ import annotations

import copy
import pathlib

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia import cdi, gpus
from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia.cdi_spec import CdiSpec
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host, Outcome
from tests.unit.test_plan import FACTS, LEAST, plan, run

CAPTURES = pathlib.Path(__file__).parent / "captures" / "nvidia-smi"
REPOSITORY = {"url": "https://packages.example.org/docker", "key": "https://packages.example.org/docker.asc"}


def host(version="12", packages=("docker.io",), running=True, engine="26.1.5", gpu="", ctk="/usr/bin/nvidia-ctk", specs=()):
    """Facts of a Debian with these engine packages, and with the GPUs of a recorded nvidia-smi."""
    facts = copy.deepcopy(FACTS)
    facts["distribution"].update(id="debian", version=version)
    if running:
        facts["docker"].update(packages=list(packages), version=engine)
    else:
        facts["docker"] = {"cli": "", "present": False, "running": False, "error": "", "packages": list(packages)}
    if gpu:
        recorded = Outcome(0, (CAPTURES / gpu).read_text(), "")
        answer = gpus.judge(recorded, Outcome(2, "", "no"), 5)
        facts["gpu"] = {**facts["gpu"], **answer, "platform": "linux"}
        facts["cdi"] = {"ctk": ctk, "version": "1.17.8", "refresh": False, "specs": list(specs)}
    return facts


def engine(facts=None, **given):
    return plan({**LEAST, **given}, facts=facts or host())["engine"]


def with_gpu(gpu, **given):
    return {**LEAST, **given, "nemoclaw_sandboxes": [{"name": "assistant", "gpu": gpu}]}


def problems(given, facts):
    result = run(given, facts=facts)
    assert result.get("failed"), "accepted"
    return {error["variable"]: f"{error['problem']} {error['remedy']}" for error in result["errors"]}


L40S, H100, MIG = "k8s-test-infra__hardware-qx-l40s.xml", "k8s-test-infra__hardware-qx-h100.xml", "telegraf__a100-sxm4-80gb-mig-v12.xml"


# --- packages ---------------------------------------------------------------------------------------------------------------------------


def test_an_engine_that_is_there_is_left_alone():
    assert engine() == {"daemon": {"name": "docker", "state": "absent", "settings": {}, "defaults": {}, "allow_data_root_change": False}}


@pytest.mark.parametrize(("version", "packages"), [("12", ["docker.io"]), ("13", ["docker.io", "docker-cli"])])
def test_packages_of_the_distribution(version, packages):
    found = engine(host(version, (), running=False), nemoclaw_docker_source="distribution")
    assert found["packages"]["packages"] == packages
    assert found["daemon"]["defaults"]["log-opts"] == {"max-file": "3", "max-size": "10m"}
    # the plan of the next run, on the host that then has it, is the same
    assert engine(host(version), nemoclaw_docker_source="distribution") == found


def test_packages_of_docker_and_where_they_come_from():
    given = {"nemoclaw_docker_source": "docker", "nemoclaw_docker": {"repository": REPOSITORY}}
    found = engine(host("12", (), running=False), **given)
    assert found["packages"]["packages"] == ["docker-ce", "docker-ce-cli", "containerd.io"]
    key, source = found["repositories"]
    assert key["url"] == REPOSITORY["key"]
    assert source["content"].splitlines()[:4] == ["Types: deb", f"URIs: {REPOSITORY['url']}", "Suites: bookworm", "Components: stable"]
    assert f"Signed-By: {key['path']}" in source["content"]
    text = engine(host("12", (), running=False), **{**given, "nemoclaw_docker": {"repository": {**REPOSITORY, "key": "-----BEGIN PGP\n"}}})
    assert text["repositories"][0]["content"] == "-----BEGIN PGP\n"


def test_an_engine_of_another_origin_stays_unless_it_is_to_be_replaced():
    given = {"nemoclaw_docker_source": "docker", "nemoclaw_docker": {"repository": REPOSITORY}}
    assert "packages" not in engine(host(), **given)
    assert "packages" not in engine(host(packages=()), **given)  # no package: a snap, or built by hand
    replaced = engine(host(), **{**given, "nemoclaw_docker": {"repository": REPOSITORY, "replace": True}})
    assert replaced["packages"]["packages"][0] == "docker-ce"
    assert "docker.io" in replaced["replaced"]["packages"]
    assert replaced["replaced"]["state"] == "absent"


def test_the_repair_of_docker_is_an_engine_of_the_distribution():
    assert engine(host("12", (), running=False), nemoclaw_preflight_repair=["docker"])["packages"]["packages"] == ["docker.io"]
    assert run(LEAST | {"nemoclaw_docker_source": "distribution"}, facts=None)["repair"] == ["docker"]
    assert run(with_gpu(True), facts=None)["repair"] == ["cdi"]


# --- configuration ----------------------------------------------------------------------------------------------------------------------


def test_settings_by_their_names_in_daemon_json():
    given = {
        "data_root": "/data/docker",
        "registry_mirrors": ["https://mirror.example.org"],
        "insecure_registries": ["registry.example.org:5000"],
        "proxies": {"http_proxy": "http://proxy.example.org:3128", "no_proxy": "localhost"},
        "dns": ["192.0.2.1"],
        "log_driver": "local",
        "log_options": {"max-size": "20m"},
        "cdi": True,
        "settings": {"features": {"buildkit": True}, "dns": ["192.0.2.2"]},
    }
    assert engine(nemoclaw_docker=given)["daemon"]["settings"] == {
        "data-root": "/data/docker",
        "registry-mirrors": ["https://mirror.example.org"],
        "insecure-registries": ["registry.example.org:5000"],
        "proxies": {"http-proxy": "http://proxy.example.org:3128", "no-proxy": "localhost"},
        "dns": ["192.0.2.2"],
        "log-driver": "local",
        "log-opts": {"max-size": "20m"},
        "features": {"buildkit": True, "cdi": True},
    }


# --- GPUs -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capture", "gpu", "devices"),
    [
        (L40S, True, ["nvidia.com/gpu=all"]),
        (H100, 2, ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (H100, ["nvidia.com/gpu=7", "nvidia.com/gpu=3"], ["nvidia.com/gpu=7", "nvidia.com/gpu=3"]),
        (MIG, 2, ["nvidia.com/gpu=0:0", "nvidia.com/gpu=0:1"]),
        (MIG, ["nvidia.com/gpu=0:2"], ["nvidia.com/gpu=0:2"]),
    ],
)
def test_gpus_of_a_sandbox_are_named_devices(capture, gpu, devices):
    made = plan(with_gpu(gpu), facts=host(gpu=capture))
    assert made["sandboxes"][0]["create"]["cdi_devices"] == devices
    assert made["engine"]["cdi"]["path"] == "/etc/cdi/nvidia.yaml"
    assert made["engine"]["daemon"]["settings"] == {"features": {"cdi": True}}


def test_a_host_with_a_gpu_that_nobody_asks_for_is_left_alone():
    assert list(engine(host(gpu=L40S))) == ["daemon"]
    assert "cdi" in engine(host(gpu=L40S), nemoclaw_toolkit={"state": "auto"})
    assert "cdi" in engine(host(gpu=L40S), nemoclaw_preflight_repair=["cdi"])
    # one group of variables for hosts with and without
    assert list(engine(host(), nemoclaw_toolkit={"state": "auto"}, nemoclaw_preflight_repair=["cdi"])) == ["daemon"]


def test_the_toolkit_comes_from_where_it_is_said():
    given = {"url": "https://packages.example.org/toolkit", "key": "-----BEGIN PGP"}
    found = engine(host(gpu=L40S, ctk=""), nemoclaw_toolkit={"repository": given})
    assert found["toolkit"]["packages"] == ["nvidia-container-toolkit"]
    assert "Suites: /\nSigned-By" in found["repositories"][1]["content"]


def test_a_jetson_has_its_runtime():
    facts = host(gpu=L40S)
    facts["gpu"]["platform"] = "jetson"
    assert engine(facts, nemoclaw_toolkit={"state": "auto"})["daemon"]["settings"]["runtimes"] == {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}


def broken():
    facts = host(gpu=L40S)
    facts["gpu"].update(status="driver", detail="the driver is not loaded", remedy="Reboot the host.", gpus=[])
    return facts


@pytest.mark.parametrize(
    ("given", "facts", "variable", "said"),
    [
        (with_gpu(True), host(), "nemoclaw_sandboxes[0].gpu", "no NVIDIA GPU"),
        (with_gpu(["vendor.example/gpu=0"]), host(), "nemoclaw_sandboxes[0].gpu", "vendor.example/gpu=0 is no CDI device"),
        (with_gpu(True), broken(), "nemoclaw_sandboxes[0].gpu", "not loaded. Reboot"),
        (with_gpu(9), host(gpu=H100), "nemoclaw_sandboxes[0].gpu", "more than the 8"),
        (with_gpu(["nvidia.com/gpu=8"]), host(gpu=H100), "nemoclaw_sandboxes[0].gpu", "nvidia.com/gpu=7"),
        (with_gpu(["nvidia.com/gpu=0"]), host(gpu=MIG), "nemoclaw_sandboxes[0].gpu", "nvidia.com/gpu=0:0"),
        (with_gpu(True), host(gpu=L40S, engine="20.10.24"), "nemoclaw_sandboxes[0].gpu", "Docker 26.0.0 or later"),
        (with_gpu(True), host(gpu=L40S, ctk=""), "nemoclaw_toolkit", "nemoclaw_toolkit.repository or nemoclaw_toolkit.packages_dir"),
        (with_gpu(True, nemoclaw_toolkit={"repository": {"url": "https://a"}}), host(gpu=L40S), "nemoclaw_toolkit.repository.key", "is missing"),
        ({**LEAST, "nemoclaw_toolkit": {"state": "present"}}, host(), "nemoclaw_toolkit.state", "no NVIDIA GPU. Set it to auto"),
        ({**LEAST, "nemoclaw_docker_source": "docker"}, host("12", (), False), "nemoclaw_docker.repository.url", "nemoclaw_docker.packages_dir"),
        (
            {**LEAST, "nemoclaw_docker_source": "docker", "nemoclaw_docker": {"repository": REPOSITORY}},
            host("14", (), False),
            "nemoclaw_docker.repository.suite",
            "is missing",
        ),
        ({**LEAST, "nemoclaw_docker_source": "distribution"}, host("12", ["podman-docker"], False), "nemoclaw_docker_source", "podman-docker on this host"),
        ({**LEAST, "nemoclaw_docker": {"registry_mirrors": ["mirror.example.org"]}}, host(), "nemoclaw_docker.registry_mirrors[0]", "no URL of a mirror"),
        ({**LEAST, "nemoclaw_docker": {"proxies": {"http_proxy": "http://a:b@c"}}}, host(), "nemoclaw_docker.proxies.http_proxy", "password"),
        ({**LEAST, "nemoclaw_docker": {"proxies": {"http_proxy": "http://c"}}}, host(engine="20.10.24"), "nemoclaw_docker.proxies", "20.10.24"),
    ],
)
def test_what_a_host_cannot_give_is_said(given, facts, variable, said):
    assert said in problems(given, facts)[variable]


def test_no_packages_are_known_for_another_distribution():
    facts = host("44", (), running=False)
    facts["distribution"].update(id="fedora", name="Fedora 44")
    assert "Fedora 44" in problems({**LEAST, "nemoclaw_docker_source": "distribution"}, facts)["nemoclaw_docker_source"]


# --- specifications ---------------------------------------------------------------------------------------------------------------------

# as nvidia-ctk writes them: keys by the alphabet, or names first
GENERATED = """\
---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    netDevices:
    - hostInterfaceName: eth1
      name: inner
  name: "0"
- containerEdits: {}
  name: all
kind: nvidia.com/gpu
"""
BY_HAND = 'kind: "nvidia.com/gpu"\ndevices:\n    - name: "0:1"\n      containerEdits:\n        hooks:\n        - name: inner\n    - name: GPU-1\n'


@pytest.mark.parametrize(
    ("text", "kind", "devices"),
    [
        (GENERATED, "nvidia.com/gpu", ["0", "all"]),
        (BY_HAND, "nvidia.com/gpu", ["0:1", "GPU-1"]),
        ('{"kind": "vendor.example/nic", "devices": [{"name": "a"}]}', "vendor.example/nic", ["a"]),
        ("", "", []),
        ("{broken", "", []),
    ],
)
def test_specifications_are_read_without_a_parser_for_yaml(text, kind, devices):
    assert cdi.parse(text) == {"kind": kind, "devices": devices}


def test_specifications_of_a_host(tmp_path):
    for name in ("etc/cdi/nvidia.yaml", "var/run/cdi/other.json"):
        (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / "etc/cdi/nvidia.yaml").write_text(GENERATED)
    (tmp_path / "var/run/cdi/other.json").write_text('{"kind": "vendor.example/nic", "devices": []}')
    found = cdi.specs(Host(str(tmp_path)))
    assert [(spec["path"], spec["kind"]) for spec in found] == [("/etc/cdi/nvidia.yaml", "nvidia.com/gpu"), ("/var/run/cdi/other.json", "vendor.example/nic")]


DRIVER = {"driver": "580.1", "devices": ["0=GPU-a", "1=GPU-b"]}


@pytest.mark.parametrize(
    ("state", "fields"),
    [
        ({"made": DRIVER}, []),
        ({"fits": True}, []),  # somebody else's, of this driver
        ({"fits": False}, ["made from"]),
        ({"made": {**DRIVER, "driver": "570.9"}, "fits": True}, ["made from"]),
        ({"made": {**DRIVER, "devices": ["0=GPU-a", "1=GPU-c"]}, "fits": True}, ["made from"]),
        ({"made": DRIVER, "devices": ["0", "all"]}, ["devices"]),  # a GPU more, or the file is gone
        ({"made": DRIVER, "devices": [], "containers": {"model": "no"}}, ["devices", "running containers"]),
    ],
)
def test_a_specification_is_made_anew_when_it_no_longer_fits(state, fields):
    as_it_is = {"made": {}, "devices": ["0", "1", "all"], "names": ["0", "1"], "source": DRIVER, "fits": False, "containers": {}}
    changes = CdiSpec({"name": cdi.KIND, "path": "/etc/cdi/nvidia.yaml"}).diff({**as_it_is, **state})
    assert [change.field for change in changes] == fields


def test_what_a_specification_is_made_from():
    assert cdi.fingerprint(host(gpu=MIG)["gpu"])["devices"][:2] == [f"0:{n}=GPU-00000000-0000-0000-0000-000000000000" for n in (0, 1)]
    assert cdi.fingerprint(host(gpu=H100)["gpu"]) == {
        "driver": "580.105.08",
        "devices": [f"{n}=GPU-0000000{n}-0000-0000-0000-00000000000{n}" for n in range(8)],
    }
