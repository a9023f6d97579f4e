# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole plan against a host: which resources, in which order, and what is said when the gateway is down or never was.

The resources are real, of the kept plan of a typical host (data/plan.json); only what they read is given.
"""

from __future__ import annotations

import json
import pathlib
import sys

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils import _drift as drifting
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.sandbox import spec_digest

PLAN = json.loads((pathlib.Path(__file__).parent / "data" / "plan.json").read_text())
CREDENTIALS = {"COMPATIBLE_API_KEY": "sk-canary-77aa"}
CONNECTED = {"endpoint": PLAN["gateway"]["endpoint"], "certificate": True, "connected": True, "ready": True}

NOTHING = {
    "host": False,
    "engine": False,
    "gateway": False,
    "serving": [],
    "proxy": False,
    "inference": False,
    "sandboxes": [],
    "leftovers": [],
}


def resources():
    return drifting.components(PLAN, drifting.OpenShell("nemoclaw", "nemoclaw"), CREDENTIALS)


def as_planned(resource):
    """What a resource reads on a host that is as planned."""
    desired = resource.desired
    if resource.absent:
        return {}
    if resource.kind == "forward":
        return as_planned(resource.unit)
    if resource.kind == "route":
        return dict(desired)
    return {
        "packages": lambda: {"installed": desired["packages"]},
        "user": lambda: {"exists": True, "groups": desired["groups"]},
        "file": lambda: dict(desired),
        "programs": lambda: {"programs": {name: {"sha256": "present"} for name in desired["programs"]}, "record": {}, "interrupted": False},
        "network": lambda: {"subnet": desired["subnet"]},
        "unit": lambda: {"content": desired["content"], "enabled": True, "active": True, "digest": resource.digest},
        "certificates": lambda: {"problem": "", "expires": "4096-01-01", "soon": False, "open": [], "exchanging": False},
        "gateway": lambda: dict(CONNECTED),
        "gateway users": dict,
        "provider": lambda: {
            "type": desired["type"],
            "config": desired["config"],
            "credential_keys": sorted(desired["credentials"]),
            "credentials_current": True,
            "changed_by_others": False,
        },
        "image": lambda: {"name": desired["name"], "present": True},
        "sandbox": lambda: {
            "phase": "Ready",
            "spec": spec_digest(desired),
            "files": {entry["path"]: {"content": entry["content"], "mode": entry["mode"]} for entry in desired["files"]},
        },
        "registry": lambda: {resource.name: {**desired["entry"], "name": resource.name, "gatewayName": desired["gateway"], "managedBy": "nemoclaw.fleet"}},
        "policy": lambda: desired["policy"],
    }[resource.kind]()


@pytest.fixture
def host(monkeypatch):
    """A host as planned. The function gives resources (kind/name) other states, compares, and keeps in C(read) what was read."""
    states, read = {}, []

    def reader(resource):
        read.append(f"{resource.kind}/{resource.name}")
        return states.get(read[-1], as_planned(resource))

    for component in resources().values():
        for resource in component:
            monkeypatch.setattr(type(resource), "read", reader)
            if resource.kind == "image":  # what an image reads is tested with the engine (test_image.py)
                monkeypatch.setattr(type(resource), "diff", lambda self, state: [] if state else [self.change("state", "absent", "present")])

    def compare(others=()):
        states.clear()
        states.update(others)
        read.clear()
        return drifting.drift(PLAN, drifting.OpenShell("nemoclaw", "nemoclaw"), CREDENTIALS)

    compare.read = read
    return compare


def test_the_components_and_their_order():
    found = resources()
    assert list(found) == ["engine", "gateway", "inference", "sandbox/assistant", "sandbox/second", "sandbox/old"]
    kinds = {component: [resource.kind for resource in entries] for component, entries in found.items()}
    order = ["packages", "user", "file", "programs", "network", "certificates", "unit", "gateway", "gateway users"]
    assert list(dict.fromkeys(kinds["gateway"])) == order
    assert kinds["inference"] == ["provider", "route"]
    assert kinds["sandbox/assistant"] == ["image", "sandbox", "policy", "unit", "forward", "registry"]
    # the agent is stopped while the sandbox is still there
    assert kinds["sandbox/old"] == ["unit", "forward", "sandbox", "registry"]


def test_every_resource_is_the_plans():
    [provider, _route] = resources()["inference"]
    assert provider.desired["credentials"] == {"OPENAI_API_KEY": CREDENTIALS["COMPATIBLE_API_KEY"]}
    _image, _sandbox, _policy, unit, forward, _registry = resources()["sandbox/second"]
    assert unit.name == "nemoclaw-agent@second.service"
    assert forward.unit.name == "nemoclaw-forward@second-18790.service"
    assert "127.0.0.1:18790" in forward.unit.desired["content"]


def test_an_image_from_an_archive_is_compared_by_its_name():
    image = {"name": "registry.example.org/openclaw:1", "source": "archive", "archive": "/srv/openclaw.tar"}
    assert drifting.image_of({"image": image})["source"] == "present"


def test_a_host_as_planned_has_nothing_to_do(host):
    found = host()
    assert found.changes == {"engine": [], "gateway": [], "inference": [], "sandbox/assistant": [], "sandbox/second": [], "sandbox/old": []}
    assert (found.refused, found.unknown) == ([], [])
    assert found.pending == NOTHING


def test_only_what_differs_is_pending(host):
    found = host({"route/inference.local": {"provider": "compatible-endpoint", "model": "other", "timeout": 300}})
    assert found.pending == {**NOTHING, "inference": True}
    assert [(change.field, change.before) for change in found.changes["inference"]] == [("model", "other")]
    found = host({"unit/nemoclaw-agent@second.service": {}})
    assert found.pending["sandboxes"] == ["second"]


def test_a_sandbox_that_is_to_go_is_pending_while_it_is_there(host):
    assert host({"sandbox/old": {"phase": "Ready", "spec": ""}}).pending["sandboxes"] == ["old"]


def test_where_no_gateway_ever_was_all_is_made(host):
    found = host({"gateway/nemoclaw": {}, "sandbox/assistant": {"phase": "Ready"}, "provider/compatible-endpoint": {"type": "openai"}})
    assert found.unknown == []
    assert {name for name, pending in found.pending.items() if pending} == {"gateway", "inference", "sandboxes"}
    assert found.pending["sandboxes"] == ["assistant", "second"]
    # nothing that needs a gateway was asked
    assert not [name for name in host.read if name.split("/")[0] in drifting.GATEWAY_KINDS]
    # a sandbox is created with its policy
    assert not [change for change in found.changes["sandbox/assistant"] if change.resource.startswith("policy/")]


def test_behind_a_gateway_that_is_down_nothing_is_claimed(host):
    found = host({"gateway/nemoclaw": {**CONNECTED, "connected": False}})
    assert found.pending == {**NOTHING, "gateway": True}
    assert found.unknown == [
        *("provider/compatible-endpoint", "route/inference.local"),
        *("sandbox/assistant", "policy/assistant", "sandbox/second", "policy/second", "sandbox/old"),
    ]
    assert not [name for name in host.read if name.split("/")[0] in drifting.GATEWAY_KINDS]
    assert "unit/nemoclaw-agent@assistant.service" in host.read  # what systemd can tell is read all the same


def test_what_takes_a_rebuild_is_refused_and_named(host):
    desired = next(sandbox["create"] for sandbox in PLAN["sandboxes"] if sandbox["name"] == "second")
    live = {**as_planned(resources()["sandbox/second"][1]), "spec": spec_digest({**desired, "cpu": "1"})}
    other = {**desired["policy"], "process": {"run_as_user": "1000", "run_as_group": "sandbox"}}

    class Records:
        def __init__(self, *unused):
            pass

        def records(self):
            return {"sandbox/second": {"spec": {"image": desired["image"], "cpu": "1", "memory": desired["memory"]}}}

    from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import client, sandbox

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "Fingerprints", Records)
        patch.setattr(client.OpenShell, "account", None)
        found = host({"sandbox/second": live, "policy/second": other})
    assert [(change.resource, change.field, change.before, change.after) for change in found.refused] == [
        ("sandbox/second", "cpu", "1", "2"),
        ("policy/second", "process", other["process"], desired["policy"]["process"]),
    ]
    assert found.pending["sandboxes"] == ["second"]


def test_no_secret_is_in_a_drift(host):
    found = host({"gateway/nemoclaw": {}})
    assert CREDENTIALS["COMPATIBLE_API_KEY"] not in str(found)


def test_a_host_is_repaired_where_the_plan_allows_it(monkeypatch):
    allowed = {**PLAN, "repair": {**PLAN["repair"], "wanted": ["clock", "docker", "firewall", "swap"]}}
    monkeypatch.setattr(sys.modules[__name__], "PLAN", allowed)
    (host,) = [of_component for component, of_component in resources().items() if component == "host"]
    assert [(resource.kind, resource.name) for resource in host] == [("swap", "/swapfile-nemoclaw"), ("firewall", "nemoclaw"), ("clock", "system")]
    assert host[1].desired["ports"] == [8000, 18080]
