# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine as its host sees it; h2 has a GPU."""

import json


def test_service(host):
    assert host.package("docker.io").is_installed
    assert host.service("docker").is_running
    assert host.service("docker").is_enabled


def test_what_was_there_is_still_there(host):
    found = json.loads(host.file("/etc/docker/daemon.json").content_string)
    gpu = {"features": {"cdi": True}} if host.file("/etc/cdi").exists else {}
    mirrors = ["https://theirs.example.org", "https://ours.example.org"]
    # no bounds for logs: somebody has configured this engine
    assert found == {"labels": ["site=test"], "registry-mirrors": mirrors, "max-concurrent-downloads": 4, **gpu}


def test_the_engine_runs_with_it(host):
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["RegistryConfig"]["Mirrors"] == ["https://theirs.example.org/", "https://ours.example.org/"]
    assert info["Labels"] == ["site=test"]
    assert bool(info.get("CDISpecDirs")) == host.file("/etc/cdi").exists


def test_devices_are_of_the_driver_that_runs(host):
    program = host.file("/usr/local/bin/nvidia-smi")
    if not program.exists:
        assert not host.file("/etc/cdi").exists
        return
    driver = host.check_output("nvidia-smi -q -x | sed -n 's/.*<driver_version>\\(.*\\)<.*/\\1/p'")
    assert f"FAKE_DRIVER={driver}" in host.file("/etc/cdi/nvidia.yaml").content_string
    # once for each driver: an unchanged one is no reason
    calls = host.file("/usr/local/lib/nvidia/calls").content_string.splitlines()
    assert calls.count("cdi generate --output=/etc/cdi/nvidia.yaml") == (2 if driver == "600.10.01" else 1)
