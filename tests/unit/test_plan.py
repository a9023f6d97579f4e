# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: every mistake refused with its remedy, defaults resolved, the same input giving the same bytes, and no secret in it.

The plan of a typical host is kept in data/plan.json. After a change that is meant: `make renew`, and read the difference.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pathlib
import re
import shutil
from types import SimpleNamespace

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.nemoclaw.fleet.plugins.action.plan import ActionModule
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.build_context import build_name
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._blueprint import BUNDLED, Blueprint, BlueprintError, pins
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._plan import build, variables

DATA = pathlib.Path(__file__).parent / "data"
FACTS = json.loads((pathlib.Path(__file__).parent / "captures" / "hosts" / "debian12.json").read_text())
SECRET = "sk-canary-5d1e"
LEAST = {
    "nemoclaw_inference": {"provider": "custom", "model": "org/model-8b", "endpoint_url": "http://127.0.0.1:8000/v1"},
    "nemoclaw_credentials": {"COMPATIBLE_API_KEY": SECRET},
    "nemoclaw_sandboxes": [{"name": "assistant"}],
}
RULE = {"name": "docs", "endpoints": [{"host": "docs.example.org", "port": 443}], "binaries": ["/usr/bin/curl"]}
TYPICAL = {
    **LEAST,
    "nemoclaw_inference": {**LEAST["nemoclaw_inference"], "timeout": 300, "context_window": 65536, "max_tokens": 2048},
    "nemoclaw_gateway": {"port": 18080},
    "nemoclaw_sandboxes": [
        {"name": "assistant", "env": {"GREETING": "hello"}, "config": {"agents": {"defaults": {"timeoutSeconds": 600}}}, "policy": {"custom": [RULE]}},
        {"name": "second", "dashboard_port": 18790, "cpu": "2", "memory": "4Gi"},
        {"name": "old", "state": "absent"},
    ],
}


def run(given, *, facts=FACTS, **arguments):
    """The result of the plan action for a host with these variables."""
    task = SimpleNamespace(args={**({"facts": facts} if facts else {}), **arguments}, async_val=0, check_mode=False, diff=False, action="nemoclaw.fleet.plan")
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
    host = {"inventory_hostname": "spark1", **given}
    return ActionModule(task, connection, None, DataLoader(), Templar(DataLoader(), variables=host), None).run(None, host)


def plan(given=None, **more):
    result = run(LEAST if given is None else given, **more)
    assert not result.get("failed"), result["msg"]
    return result["plan"]


def changed(base, path, value):
    """A copy of the variables with one value changed: path is dotted, with numbers for list entries."""
    result = copy.deepcopy(base)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = result
    for part in parents:
        target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
    target[last] = value
    return result


# --- pure -------------------------------------------------------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_bytes():
    shuffled = {key: dict(reversed(value.items())) if isinstance(value, dict) else value for key, value in reversed(TYPICAL.items())}
    assert build.canonical(plan(TYPICAL)) == build.canonical(plan(shuffled))


def test_making_a_plan_changes_no_input():
    before = copy.deepcopy((TYPICAL, FACTS))
    plan(TYPICAL)
    assert before == (TYPICAL, FACTS)


def test_the_digest_covers_the_whole_plan():
    made = plan(TYPICAL)
    assert build.digest({key: value for key, value in made.items() if key not in ("digest", "variables")}) == made["digest"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("nemoclaw_user", "agents"),
        ("nemoclaw_gateway.name", "other"),
        ("nemoclaw_gateway.port", 18082),
        ("nemoclaw_gateway.health_port", 18083),
        ("nemoclaw_gateway.subnet", "172.29.0.0/24"),
        ("nemoclaw_openshell.bin_dir", "/opt/openshell/bin"),
        ("nemoclaw_inference.model", "org/other"),
        ("nemoclaw_inference.endpoint_url", "http://10.1.2.3:8000/v1"),
        ("nemoclaw_inference.preferred_api", "openai-responses"),
        ("nemoclaw_inference.timeout", 301),
        ("nemoclaw_inference.context_window", 65537),
        ("nemoclaw_inference.max_tokens", 2049),
        ("nemoclaw_images", {"openclaw": {"base": "registry.example.org/base:1"}}),
        ("nemoclaw_verify_prompt", "Are you there?"),
        ("nemoclaw_sandbox_ready_timeout", 181),
        ("nemoclaw_inference.probe_timeout", 61),
        ("nemoclaw_sandboxes.0.name", "helper"),
        ("nemoclaw_sandboxes.0.state", "absent"),
        ("nemoclaw_sandboxes.0.dashboard_port", 18800),
        ("nemoclaw_sandboxes.0.allowed_origins", ["https://agents.example.org"]),
        ("nemoclaw_sandboxes.0.env.GREETING", "good day"),
        ("nemoclaw_sandboxes.0.config.agents.defaults.timeoutSeconds", 601),
        ("nemoclaw_sandboxes.0.policy.custom.0.endpoints.0.port", 444),
        ("nemoclaw_sandboxes.1.cpu", "3"),
        ("nemoclaw_sandboxes.1.memory", "5Gi"),
        ("nemoclaw_gateway.log_level", "warn"),
        ("nemoclaw_sandboxes.1.mounts", [{"type": "volume", "source": "v", "target": "/sandbox/v"}]),
    ],
)  # fmt: skip
def test_every_variable_reaches_the_plan(path, value):
    assert plan(changed(TYPICAL, path, value))["digest"] != plan(TYPICAL)["digest"]


@pytest.mark.parametrize(("given", "seconds"), [({}, 180), ({"timeout": 301}, 301), ({"timeout": 301, "probe_timeout": 20}, 20)])
def test_a_slow_model_has_the_time_of_a_request_when_it_is_tried(given, seconds):
    made = plan({**LEAST, "nemoclaw_inference": {**LEAST["nemoclaw_inference"], **given}})["inference"]
    assert (made["endpoint"]["timeout"], made["route"]["timeout"]) == (seconds, given.get("timeout", 180))


def test_no_secret_is_part_of_a_result():
    assert SECRET not in json.dumps(run(TYPICAL))
    assert SECRET not in json.dumps(run(changed(TYPICAL, "nemoclaw_sandboxes.0.name", "No Name")))
    assert plan(TYPICAL) == plan(changed(TYPICAL, "nemoclaw_credentials.COMPATIBLE_API_KEY", "another"))


def test_a_plan_names_the_credential_it_needs():
    assert plan()["inference"]["credential"] == "COMPATIBLE_API_KEY"
    assert plan()["inference"]["provider"]["key"] == "OPENAI_API_KEY"


def test_programs_of_a_directory_are_pinned_by_digest(tmp_path):
    for name in ("openshell", "openshell-gateway", "openshell-sandbox"):
        (tmp_path / name).write_text(name)
    given = {**LEAST, "nemoclaw_openshell": {"source": "directory", "path": str(tmp_path)}}
    before = plan(given)
    pinned = before["gateway"]["programs"]["sha256"]
    assert {name: bool(re.fullmatch("[0-9a-f]{64}", digest)) for name, digest in pinned.items()} == dict.fromkeys(pinned, True)
    (tmp_path / "openshell").write_text("a newer one")
    after = plan(given)
    assert [name for name in pinned if after["gateway"]["programs"]["sha256"][name] != pinned[name]] == ["openshell"]
    # the gateway is restarted when the programs are replaced, and not once more for its unit
    assert before["gateway"]["units"] == after["gateway"]["units"]


MIRROR = {"source": "url", "url": "https://mirror.example.org/openshell/{version}/{arch}"}


def test_archives_of_a_mirror_are_pinned_by_the_blueprint():
    made = plan({**LEAST, "nemoclaw_openshell": MIRROR})["gateway"]["programs"]
    assert made["version"] == "0.0.106"
    assert [archive["url"] for archive in made["archives"]] == [
        f"https://mirror.example.org/openshell/0.0.106/x86_64/{name}"
        for name in (
            "openshell-x86_64-unknown-linux-musl.tar.gz",
            "openshell-gateway-x86_64-unknown-linux-gnu.tar.gz",
            "openshell-sandbox-x86_64-unknown-linux-gnu.tar.gz",
        )
    ]
    assert all(re.fullmatch("[0-9a-f]{64}", archive["sha256"]) for archive in made["archives"])
    other = plan({**LEAST, "nemoclaw_openshell": {"source": "url"}}, facts={**FACTS, "arch": "aarch64"})["gateway"]["programs"]
    assert {archive["url"].rpartition("/")[0] for archive in other["archives"]} == {"https://github.com/NVIDIA/OpenShell/releases/download/v0.0.106"}
    assert ["aarch64" in archive["name"] for archive in other["archives"]] == [True] * 3
    assert {archive["sha256"] for archive in other["archives"]}.isdisjoint(archive["sha256"] for archive in made["archives"])


def test_archives_on_the_controller_are_verified(tmp_path):
    names = [archive["name"] for archive in plan({**LEAST, "nemoclaw_openshell": MIRROR})["gateway"]["programs"]["archives"]]
    given = {**LEAST, "nemoclaw_openshell": {"source": "archive", "path": str(tmp_path)}}
    assert f"{tmp_path}/{names[0]}: No such file or directory" in run(given)["msg"]
    for name in names:
        (tmp_path / name).write_text(name)
    found = hashlib.sha256(names[0].encode()).hexdigest()
    pinned = "d1a885a91b3e5aaa006c36aca95dc78bed0638c1ba1a79b55f1da93211b8a0a0"
    assert f"{tmp_path}/{names[0]} has the SHA-256 {found}, expected is {pinned}" in run(given)["msg"]
    own = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    made = plan(changed(given, "nemoclaw_openshell.checksums", own))["gateway"]["programs"]
    assert {archive["name"]: archive["sha256"] for archive in made["archives"]} == own


def test_what_is_installed_anyway_is_no_fault_of_the_host():
    unusable = ["openshell_unusable", "openshell_gateway_unusable", "openshell_sandbox_unusable"]
    assert set(unusable) <= set(run({**LEAST, "nemoclaw_openshell": MIRROR}, facts=None)["repair"])
    assert set(unusable).isdisjoint(run(LEAST, facts=None)["repair"])


def test_a_downgrade_needs_a_word():
    there = {name: {"path": f"/usr/local/bin/{name}", "version": "0.0.108"} for name in ("openshell", "openshell-gateway", "openshell-sandbox")}
    given = {**LEAST, "nemoclaw_openshell": MIRROR}
    said = run(given, facts={**FACTS, "openshell": there})["msg"]
    assert "0.0.106 is older than 0.0.108, which is on the host. Set nemoclaw_openshell.allow_downgrade" in said
    plan(changed(given, "nemoclaw_openshell.allow_downgrade", True), facts={**FACTS, "openshell": there})


def test_the_secret_of_a_mirror_is_named_and_not_kept():
    given = {**LEAST, "nemoclaw_openshell": {**MIRROR, "credential": "MIRROR"}, "nemoclaw_credentials": {**LEAST["nemoclaw_credentials"], "MIRROR": SECRET}}
    made = plan(given)
    assert made["gateway"]["programs"]["download"]["credential"] == "MIRROR"
    assert SECRET not in build.canonical(made)
    assert not run({**given, "nemoclaw_credentials": {}}, credentials_needed=False).get("failed")


def test_golden():
    made = plan(TYPICAL)
    for sandbox in made["sandboxes"]:
        for file in sandbox.get("image", {}).get("files", []):
            del file["content"]  # the blueprint's own files, which it pins
    text = re.sub(r"\b([0-9a-f]{64}|(?<=nemoclaw/openclaw:)[0-9a-f]{16})\b", "<DIGEST>", build.canonical(made))
    kept = DATA / "plan.json"
    if os.environ.get("NEMOCLAW_RENEW"):
        kept.write_text(text)
    assert json.loads(text) == json.loads(kept.read_text())


# --- defaults and what follows from the variables -------------------------------------------------------------------------------------------


def test_defaults_are_the_blueprints():
    made, data = plan(), yaml.safe_load((BUNDLED / "blueprint.yaml").read_text())
    gateway = data["gateway"]
    assert (made["owner"]["name"], made["owner"]["home"]) == ("nemoclaw", "/home/nemoclaw")
    assert made["gateway"]["endpoint"] == f"https://127.0.0.1:{gateway['port']}"
    assert made["gateway"]["network"]["subnet"] == gateway["subnet"]
    assert made["inference"]["route"]["timeout"] == data["inference"]["timeout"]
    [sandbox] = made["sandboxes"]
    assert (sandbox["agent"], sandbox["state"], sandbox["forward"]["bind"]) == ("openclaw", "present", "127.0.0.1")
    assert data["verify"]["prompt"] in sandbox["verify"]["argv"]


def test_the_home_of_a_user_that_is_there_is_used():
    facts = {**FACTS, "users": {"nemoclaw": {"uid": 1500, "gid": 1500, "home": "/srv/nemoclaw", "shell": "/bin/sh", "groups": []}}}
    made = plan(facts=facts)
    assert made["owner"]["state_dir"] == "/srv/nemoclaw/.nemoclaw"
    assert made["gateway"]["tls_dir"].startswith("/srv/nemoclaw/.nemoclaw/")


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("http://127.0.0.1:8000/v1", "http://host.openshell.internal:8000/v1"),
        ("http://127.8.9.10/v1", "http://host.openshell.internal/v1"),
        ("http://localhost:8000", "http://host.openshell.internal:8000"),
        ("http://[::1]:8000/v1", "http://host.openshell.internal:8000/v1"),
        ("http://10.1.2.3:8000/v1", "http://10.1.2.3:8000/v1"),
        ("https://llm.example.org/v1", "https://llm.example.org/v1"),
    ],
)
def test_an_endpoint_as_a_sandbox_reaches_it(url, inside):
    assert build.sandbox_url(url, "host.openshell.internal") == inside


def test_a_loopback_endpoint_is_tried_on_the_host_and_served_to_the_sandbox():
    inference = plan()["inference"]
    assert inference["endpoint"]["url"] == "http://127.0.0.1:8000/v1"
    assert inference["provider"]["config"] == {"OPENAI_BASE_URL": "http://host.openshell.internal:8000/v1"}


def test_the_image_is_named_by_its_inputs():
    [first], [second] = plan()["sandboxes"], plan({**LEAST, "nemoclaw_images": {"openclaw": {"base": "other:1"}}})["sandboxes"]
    image = first["image"]
    assert image["reference"] == build_name(image["name"], **{key: image[key] for key in ("files", "build_args", "labels", "dockerfile")})
    assert image["reference"] != second["image"]["reference"]
    assert second["image"]["build_args"]["BASE_IMAGE"] == "other:1"


@pytest.mark.parametrize("source", ["pull", "archive"])
def test_a_finished_image_is_taken_as_it_is(source):
    chosen = {"source": source, "name": "registry.example.org/openclaw:1", **({"archive": "/srv/openclaw.tar"} if source == "archive" else {})}
    [sandbox] = plan({**LEAST, "nemoclaw_images": {"openclaw": chosen}})["sandboxes"]
    assert sandbox["create"]["image"] == sandbox["image"]["reference"] == "registry.example.org/openclaw:1"


def test_a_custom_rule_is_merged_into_the_agents_policy():
    policy = plan(TYPICAL)["sandboxes"][0]["create"]["policy"]
    assert policy["network_policies"]["docs"] == {**RULE, "binaries": [{"path": "/usr/bin/curl"}]}
    assert policy["filesystem_policy"] == yaml.safe_load((BUNDLED / "policies/openclaw.yaml").read_text())["filesystem_policy"]


def digest_of(unit):
    return re.search(r'NEMOCLAW_CONFIG_DIGEST="?([0-9a-f]{64})', unit["content"]).group(1)


@pytest.mark.parametrize(
    ("path", "value", "restarts"),
    [
        ("nemoclaw_sandboxes.0.env.GREETING", "good day", True),
        ("nemoclaw_images", {"openclaw": {"base": "other:1"}}, True),
        ("nemoclaw_inference.model", "org/other", False),  # OpenClaw takes a new model in by itself
        ("nemoclaw_sandboxes.0.policy.custom", [], False),
    ],
)  # fmt: skip
def test_an_agent_is_restarted_where_it_must_be(path, value, restarts):
    before, after = plan(TYPICAL)["sandboxes"][0]["unit"], plan(changed(TYPICAL, path, value))["sandboxes"][0]["unit"]
    assert (digest_of(before) != digest_of(after)) is restarts


def test_a_sandbox_that_is_to_go_needs_no_more_than_its_name():
    *_others, old = plan(TYPICAL)["sandboxes"]
    assert {old["state"], *(old[key]["state"] for key in ("unit", "forward", "registry"))} == {"absent"}
    assert set(old) == {"name", "state", "unit", "forward", "registry"}


def test_without_sandboxes_only_the_gateway_is_planned():
    made = plan({})
    assert (made["inference"], made["sandboxes"]) == ({}, [])
    assert made["gateway"]["units"]


def test_offboarding_needs_no_credentials():
    assert run({**LEAST, "nemoclaw_credentials": {}}, credentials_needed=False)["plan"]


def test_what_preflight_needs_comes_without_facts():
    result = run(TYPICAL, facts=None)
    assert "plan" not in result
    assert result["owner"] == "nemoclaw"
    assert {entry["port"] for entry in result["ports"]} == {18080, 8081, 18789, 18790}


# --- what is refused ----------------------------------------------------------------------------------------------------------------------

REFUSED = [
    # path, value, variable as named, part of the problem, part of the remedy
    ("nemoclaw_preflight_repair", ["swop"], "nemoclaw_preflight_repair[0]", "'swop' is not possible", "Did you mean swap?"),
    ("nemoclaw_preflight_repair", ["swap", "swap"], "nemoclaw_preflight_repair", "does not have the right form", "Name each repair once"),
    ("nemoclaw_swap", {"size_mb": 1}, "nemoclaw_swap.size_mb", "out of range", "Give MiB from 64"),
    ("nemoclaw_swap", {"path": "swapfile"}, "nemoclaw_swap.path", "does not have the right form", "absolute path"),
    ("nemoclaw_sandboxs", [], "nemoclaw_sandboxs", "no such variable", "Did you mean nemoclaw_sandboxes?"),
    ("nemoclaw_sandboxes.0.dashboardport", 1, "nemoclaw_sandboxes[0].dashboardport", "no such key", "Did you mean dashboard_port?"),
    ("nemoclaw_inference.endpoint", "http://a", "nemoclaw_inference.endpoint", "no such key", "Did you mean endpoint_url?"),
    ("nemoclaw_gateway.log_level", "verbose", "nemoclaw_gateway.log_level", "is not possible", "Known: debug, error"),
    ("nemoclaw_gateway_users", ["root"], "nemoclaw_gateway_users[0]", "right form", "users of the host"),
    ("nemoclaw_gateway_users", ["nemoclaw"], "nemoclaw_gateway_users", "has the gateway anyway", "Take it out"),
    ("nemoclaw_gateway.ports", 1, "nemoclaw_gateway.ports", "no such key", "Did you mean port?"),
    ("nemoclaw_sandboxes.0.policy.customs", [], "nemoclaw_sandboxes[0].policy.customs", "no such key", "Did you mean custom?"),
    ("nemoclaw_images.openclaw.digest", "x", "nemoclaw_images.openclaw.digest", "no such key", "Known: "),
    ("nemoclaw_sandboxes.0.name", "a" * 20, "nemoclaw_sandboxes[0].name", "has 20 characters, 19 are allowed", "at most 19"),
    ("nemoclaw_sandboxes.0.name", "a--b", "nemoclaw_sandboxes[0].name", "'a--b' does not have the right form", "single hyphens"),
    ("nemoclaw_sandboxes.0.name", "Upper", "nemoclaw_sandboxes[0].name", "right form", "lower-case"),
    ("nemoclaw_sandboxes.0.name", "1a", "nemoclaw_sandboxes[0].name", "right form", "beginning with a letter"),
    ("nemoclaw_sandboxes.0.name", "a-", "nemoclaw_sandboxes[0].name", "right form", "not ending with a hyphen"),
    ("nemoclaw_sandboxes.0.name", "a_b", "nemoclaw_sandboxes[0].name", "right form", "lower-case letters, digits"),
    ("nemoclaw_sandboxes.0.name", "a\n", "nemoclaw_sandboxes[0].name", "right form", "lower-case letters, digits"),
    ("nemoclaw_sandboxes.1.name", "assistant", "nemoclaw_sandboxes[1].name", "'assistant' is there twice", "own name"),
    ("nemoclaw_sandboxes.0.agent", "openclw", "nemoclaw_sandboxes[0].agent", "'openclw' is no agent", "Did you mean openclaw?"),
    ("nemoclaw_sandboxes.0.state", "gone", "nemoclaw_sandboxes[0].state", "'gone' is not possible", "Known: absent, present"),
    ("nemoclaw_sandboxes.0.dashboard_port", 80, "nemoclaw_sandboxes[0].dashboard_port", "80 is out of range", "1024 to 65535"),
    ("nemoclaw_sandboxes.0.dashboard_port", "18789", "nemoclaw_sandboxes[0].dashboard_port", "is ", "1024 to 65535"),
    ("nemoclaw_sandboxes.0.cpu", "lots", "nemoclaw_sandboxes[0].cpu", "right form", "500m"),
    ("nemoclaw_sandboxes.1.memory", "lots", "nemoclaw_sandboxes[1].memory", "right form", "4Gi"),
    ("nemoclaw_sandboxes.0.env.BAD-NAME", "x", "nemoclaw_sandboxes[0].env.BAD-NAME", "no name of an environment variable", "letters"),
    ("nemoclaw_sandboxes.0.env.MY_TOKEN", "x", "nemoclaw_sandboxes[0].env.MY_TOKEN", "looks like a secret", "credential"),
    ("nemoclaw_sandboxes.0.env.HOME", "x", "nemoclaw_sandboxes[0].env.HOME", "own start", "Leave it out"),
    ("nemoclaw_sandboxes.0.env.FLAG", True, "nemoclaw_sandboxes[0].env.FLAG", "is ", "quote true and false"),
    ("nemoclaw_sandboxes.0.config.gateway", {"port": 1}, "nemoclaw_sandboxes[0].config.gateway.port", "set by the collection", "Leave it out"),
    ("nemoclaw_sandboxes.0.config.x", {"password": "y"}, "nemoclaw_sandboxes[0].config.x.password", "secret in clear text", "${NAME}"),
    ("nemoclaw_sandboxes.0.allowed_origins", ["agents.example.org"], "nemoclaw_sandboxes[0].allowed_origins.0", "is no origin", "https://"),
    ("nemoclaw_sandboxes.0.policy.custom", [RULE, RULE], "nemoclaw_sandboxes[0].policy.custom", "'docs' is there twice", "own name"),
    ("nemoclaw_sandboxes.0.policy.custom.0.name", "_provider_x", "nemoclaw_sandboxes[0].policy.custom[0].name", "right form", "OpenShell's own"),
    ("nemoclaw_sandboxes.0.policy.custom.0.endpoints", [], "nemoclaw_sandboxes[0].policy.custom[0].endpoints", "is empty", "at least one"),
    ("nemoclaw_sandboxes.1.model", "org/other", "nemoclaw_sandboxes.second.model", "one model for all its sandboxes", "declare a second gateway"),
    ("nemoclaw_sandboxes", {"name": "a"}, "nemoclaw_sandboxes", "is ", "nemoclaw_sandboxes"),
    ("nemoclaw_inference.provider", "costum", "nemoclaw_inference.provider", "'costum' is no provider", "Did you mean custom?"),
    ("nemoclaw_inference.model", "two words", "nemoclaw_inference.model", "right form", "GET /v1/models"),
    ("nemoclaw_inference.model", "", "nemoclaw_inference.model", "", "model"),
    ("nemoclaw_inference.endpoint_url", "ftp://a/v1", "nemoclaw_inference.endpoint_url", "no http or https URL", "http://127.0.0.1:8000/v1"),
    ("nemoclaw_inference.endpoint_url", "127.0.0.1:8000", "nemoclaw_inference.endpoint_url", "no http or https URL", "http://127.0.0.1:8000/v1"),
    ("nemoclaw_inference.endpoint_url", "http://a:port/v1", "nemoclaw_inference.endpoint_url", "is no URL", "http://127.0.0.1:8000/v1"),
    ("nemoclaw_inference.endpoint_url", f"http://me:{SECRET}@a/v1", "nemoclaw_inference.endpoint_url", "a user or a password", "nemoclaw_credentials"),
    ("nemoclaw_inference.endpoint_url", "http://a/v1?key=1", "nemoclaw_inference.endpoint_url", "a query or a fragment", "base URL only"),
    ("nemoclaw_inference.endpoint_url", "https://inference.local/v1", "nemoclaw_inference.endpoint_url", "a name inside sandboxes", "as it is on the host"),
    ("nemoclaw_inference.endpoint_url", "http://host.openshell.internal:1/v1", "nemoclaw_inference.endpoint_url", "inside sandboxes", "on the host"),
    ("nemoclaw_inference.preferred_api", "openai-response", "nemoclaw_inference.preferred_api", "not possible", "Did you mean openai-responses?"),
    ("nemoclaw_inference.timeout", 0, "nemoclaw_inference.timeout", "0 is out of range", "1 to 3600"),
    ("nemoclaw_inference.timeout", "3m", "nemoclaw_inference.timeout", "'3m' is ", "1 to 3600"),
    ("nemoclaw_inference.context_window", 4096, "nemoclaw_inference.context_window", "do not hold", "at least 32768"),
    ("nemoclaw_inference.max_tokens", 65536, "nemoclaw_inference.max_tokens", "not less than the context window", "below 65536"),
    ("nemoclaw_credentials", {}, "nemoclaw_credentials.COMPATIBLE_API_KEY", "is missing or empty", "vault or the environment"),
    ("nemoclaw_credentials.COMPATIBLE_API_KEY", "", "nemoclaw_credentials.COMPATIBLE_API_KEY", "is missing or empty", "vault"),
    ("nemoclaw_credentials.COMPATIBLE_API_KEY", 7, "nemoclaw_credentials.COMPATIBLE_API_KEY", "the value is ", ""),
    ("nemoclaw_credentials.COMPATIBLE_API_KEY", f"{SECRET}\n", "nemoclaw_credentials.COMPATIBLE_API_KEY", "the value does not have", "printf"),
    ("nemoclaw_credentials.COMPATIBLE_API_KEY", f" {SECRET}", "nemoclaw_credentials.COMPATIBLE_API_KEY", "the value does not have", "printf"),
    ("nemoclaw_credentials", SECRET, "nemoclaw_credentials", "", ""),
    ("nemoclaw_gateway.name", "a_b", "nemoclaw_gateway.name", "right form", "lower-case"),
    ("nemoclaw_gateway.name", "a" * 31, "nemoclaw_gateway.name", "31 characters", ""),
    ("nemoclaw_gateway.port", 443, "nemoclaw_gateway.port", "out of range", "1024 to 65535"),
    ("nemoclaw_gateway.port", 8081, "nemoclaw_gateway.health_port", "8081 is used by nemoclaw_gateway.port too", "own port"),
    ("nemoclaw_gateway.port", 8000, "nemoclaw_gateway.port", "8000 is used by nemoclaw_inference.endpoint_url too", "own port"),
    ("nemoclaw_sandboxes.1.dashboard_port", 18789, "nemoclaw_sandboxes[1].dashboard_port", "18789 is used by nemoclaw_sandboxes[0].dashboard_port", "own"),
    ("nemoclaw_gateway.subnet", "8.8.8.0/24", "nemoclaw_gateway.subnet", "no private IPv4 subnet", "172.30.200.0/24"),
    ("nemoclaw_gateway.subnet", "172.30.0.0/12", "nemoclaw_gateway.subnet", "", "172.30.200.0/24"),
    ("nemoclaw_gateway.subnet", "172.30.200.1/24", "nemoclaw_gateway.subnet", "host bits", "172.30.200.0/24"),
    ("nemoclaw_gateway.subnet", "somewhere", "nemoclaw_gateway.subnet", "", "172.30.200.0/24"),
    ("nemoclaw_openshell.source", "directory", "nemoclaw_openshell.path", "is missing or empty", "three programs"),
    ("nemoclaw_openshell", {"source": "archive"}, "nemoclaw_openshell.path", "source archive needs it", "release's archives"),
    ("nemoclaw_openshell", {"source": "url", "version": "0.1.0"}, "nemoclaw_openshell.version", "too new", "0.0.72 to before 0.1.0"),
    ("nemoclaw_openshell", {"source": "url", "version": "0.0.36"}, "nemoclaw_openshell.version", "cluster in a container", "gateway destroy"),
    ("nemoclaw_openshell", {"source": "url", "version": "0.0.71"}, "nemoclaw_openshell.version", "too old", "0.0.72 to before 0.1.0"),
    ("nemoclaw_openshell", {"source": "url", "version": "latest"}, "nemoclaw_openshell.version", "right form", "0.0.106"),
    ("nemoclaw_openshell", {"source": "url", "version": "0.0.105"}, "nemoclaw_openshell.checksums", "pins no checksums of 0.0.105", "Give those"),
    ("nemoclaw_openshell", {"source": "url", "checksums": {"a": "123"}}, "nemoclaw_openshell.checksums.a", "right form", "sha256sum"),
    ("nemoclaw_openshell", {"source": "url", "format": "deb"}, "nemoclaw_openshell.checksums", "openshell_0.0.106_amd64.deb", "published"),
    ("nemoclaw_openshell", {**MIRROR, "url": "https://me:pw@mirror.example.org"}, "nemoclaw_openshell.url", "a password", "nemoclaw_credentials"),
    ("nemoclaw_openshell", {**MIRROR, "credential": "GONE"}, "nemoclaw_credentials.GONE", "nemoclaw_openshell.credential names it", "vault"),
    ("nemoclaw_openshell", {**MIRROR, "url": "http://m.org", "credential": "COMPATIBLE_API_KEY"}, "nemoclaw_openshell.url", "in the clear", "https"),
    ("nemoclaw_openshell", {**MIRROR, "user": "me"}, "nemoclaw_openshell.credential", "there is a user", "nemoclaw_credentials"),
    ("nemoclaw_openshell", {**MIRROR, "ca": "/etc/ca.pem"}, "nemoclaw_openshell.ca", "no certificate", "lookup"),
    ("nemoclaw_openshell", {**MIRROR, "source": "directory", "path": "/x"}, "nemoclaw_openshell.url", "not used by the source", "source to url"),
    ("nemoclaw_openshell", {"source": "directory", "path": "/nowhere"}, "nemoclaw_openshell.path", "No such file", "openshell-gateway"),
    ("nemoclaw_openshell.bin_dir", "relative", "nemoclaw_openshell.bin_dir", "right form", "absolute path"),
    ("nemoclaw_images.opencow", {"base": "a:1"}, "nemoclaw_images.opencow", "is no agent", "Did you mean openclaw?"),
    ("nemoclaw_images.openclaw", {"source": "pull"}, "nemoclaw_images.openclaw.name", "is missing; the source pull needs it", "Set it"),
    ("nemoclaw_images.openclaw", {"source": "archive", "name": "a:1"}, "nemoclaw_images.openclaw.archive", "source archive needs it", "Set it"),
    ("nemoclaw_images.openclaw", {"base": "UPPER"}, "nemoclaw_images.openclaw.base", "right form", "lower case"),
    ("nemoclaw_user", "root", "nemoclaw_user", "", "must not be root"),
    ("nemoclaw_user", "Upper", "nemoclaw_user", "right form", "lower-case letters"),
    ("nemoclaw_allow_rebuild", "maybe", "nemoclaw_allow_rebuild", "is ", ""),
    ("nemoclaw_verify_prompt", "", "nemoclaw_verify_prompt", "is empty", ""),
    ("nemoclaw_sandbox_ready_timeout", 0, "nemoclaw_sandbox_ready_timeout", "0 is out of range", "1 to 86400"),
    ("nemoclaw_progress_interval", -1, "nemoclaw_progress_interval", "-1 is out of range", "0 to 3600"),
    ("nemoclaw_inference.probe_timeout", "1m", "nemoclaw_inference.probe_timeout", "'1m' is ", "1 to 3600"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "variable", "problem", "remedy"), REFUSED, ids=[f"{row[0]}={str(row[1])[:24]}" for row in REFUSED])
def test_a_mistake_is_refused_with_its_remedy(path, value, variable, problem, remedy):
    result = run(changed(TYPICAL, path, value))
    assert result["failed"], "was accepted"
    assert [error["variable"] for error in result["errors"]] == [variable], result["msg"]
    [error] = result["errors"]
    assert problem in error["problem"]
    assert remedy in error["remedy"]
    assert error["remedy"], "has no remedy"
    assert SECRET not in json.dumps(result)


def test_all_mistakes_are_said_at_once():
    given = changed(changed(TYPICAL, "nemoclaw_sandboxes.0.name", "No"), "nemoclaw_gateway.port", 80)
    given = changed(changed(given, "nemoclaw_inference.endpoint_url", "ftp://a"), "nemoclaw_credentials", {})
    result = run(given)
    assert {error["variable"] for error in result["errors"]} == {
        "nemoclaw_sandboxes[0].name",
        "nemoclaw_gateway.port",
        "nemoclaw_inference.endpoint_url",
        "nemoclaw_credentials.COMPATIBLE_API_KEY",
    }
    assert result["msg"].startswith("There are 4 mistakes in the variables of this host; nothing was changed.")


@pytest.mark.parametrize("missing", ["provider", "model", "endpoint_url"])
def test_what_is_missing_is_named(missing):
    given = copy.deepcopy(LEAST)
    del given["nemoclaw_inference"][missing]
    [error] = run(given)["errors"]
    assert (error["variable"], error["problem"].startswith("is missing")) == (f"nemoclaw_inference.{missing}", True)


def test_agents_need_a_model():
    [error] = run({"nemoclaw_sandboxes": [{"name": "a"}]})["errors"]
    assert error["variable"] == "nemoclaw_inference"


def test_a_variable_that_cannot_be_resolved_is_named():
    [error] = run({**TYPICAL, "nemoclaw_user": template("{{ not_defined_anywhere }}")})["errors"]
    assert (error["variable"], "not_defined_anywhere" in error["problem"]) == ("nemoclaw_user", True)


def template(text):
    from ansible.template import trust_as_template

    return trust_as_template(text)


def test_a_subnet_that_the_host_uses_is_refused():
    result = run(changed(TYPICAL, "nemoclaw_gateway.subnet", "172.17.0.0/20"))
    assert [error["variable"] for error in result["errors"]] == ["nemoclaw_gateway.subnet"]
    assert "overlaps 172.17.0.0/16, the Docker network bridge" in result["msg"]
    result = run(changed(TYPICAL, "nemoclaw_gateway.subnet", "10.213.145.0/25"))
    assert "overlaps 10.213.145.0/24, a route of the host" in result["msg"]


def test_a_further_user_must_be_there():
    facts = {**FACTS, "users": {**FACTS["users"], "ann": {"home": "/home/ann", "groups": []}, "bob": None}}
    assert plan(changed(TYPICAL, "nemoclaw_gateway_users", ["ann"]), facts=facts)["gateway"]["users"] == ["ann"]
    result = run(changed(TYPICAL, "nemoclaw_gateway_users", ["ann", "bob"]), facts=facts)
    assert [(error["variable"], error["problem"]) for error in result["errors"]] == [("nemoclaw_gateway_users", "'bob' is no user of this host.")]


def test_the_own_network_of_an_onboarded_host_is_no_overlap():
    facts = copy.deepcopy(FACTS)
    facts["docker"]["networks"]["nemoclaw"] = {"driver": "bridge", "subnets": ["172.30.200.0/24"], "gateway": "172.30.200.1"}
    facts["networks"]["routes"].append("172.30.200.0/24")
    assert plan(facts=facts) == plan()


def test_the_own_network_of_a_stopped_engine_is_no_overlap():
    facts = copy.deepcopy(FACTS)
    facts["docker"] = {**facts["docker"], "running": False, "networks": {}}
    facts["networks"]["routes"].append("172.30.200.0/24")
    assert plan(facts=facts)["gateway"]["network"]["subnet"] == "172.30.200.0/24"
    assert "a route of the host" in run(changed(TYPICAL, "nemoclaw_gateway.subnet", "172.30.200.0/25"), facts=facts)["msg"]


# --- the blueprint ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def blueprint(tmp_path):
    return pathlib.Path(shutil.copytree(BUNDLED, tmp_path / "blueprint"))


def test_the_bundled_blueprint_is_pinned():
    assert (BUNDLED / "MANIFEST.sha256").read_text() == pins(BUNDLED)


def test_a_changed_blueprint_is_refused(blueprint):
    (blueprint / "blueprint.yaml").write_text("version: 6\n")
    with pytest.raises(BlueprintError, match=r"was changed: blueprint\.yaml not as pinned"):
        Blueprint(blueprint)
    (blueprint / "extra").touch()
    assert "extra" in run({**LEAST, "nemoclaw_blueprint": {"source": str(blueprint)}})["msg"]


def test_a_pinned_blueprint_must_be_that_one(blueprint):
    digest = Blueprint(blueprint).digest
    assert plan({**LEAST, "nemoclaw_blueprint": {"source": str(blueprint), "digest": digest}})["digest"] == plan()["digest"]
    assert "has the digest" in run({**LEAST, "nemoclaw_blueprint": {"digest": "0" * 64}})["msg"]
    assert "not 9.9.9 (nemoclaw_blueprint.version)" in run({**LEAST, "nemoclaw_blueprint": {"version": "9.9.9"}})["msg"]


def test_no_blueprint_at_all(tmp_path):
    assert "There is no blueprint in" in run({**LEAST, "nemoclaw_blueprint": {"source": str(tmp_path)}})["msg"]


def test_every_variable_is_described():
    def without(schema, path):
        for name, one in schema.get("properties", {}).items():
            if not one.get("description") and not path.endswith("custom"):
                yield f"{path}.{name}"
            yield from without(one, f"{path}.{name}")
            items = one.get("items", one.get("additionalProperties"))
            if isinstance(items, dict):
                yield from without(items, f"{path}.{name}")

    assert list(without(yaml.safe_load((BUNDLED / "schema/variables.yaml").read_text()), "")) == []


def test_the_nearest_word():
    assert variables.nearest("prot", ["port", "name"]) == "Did you mean port?"
    assert variables.nearest("zzz", ["port", "name"]) == "Known: name, port."


def paths(schema, path=()):
    for name, one in schema.get("properties", {}).items():
        yield ".".join([*path, name])
        yield from paths(one, (*path, name))
        if isinstance(one.get("items"), dict):
            yield from paths(one["items"], (*path, name, "0"))
        if isinstance(one.get("additionalProperties"), dict):
            yield from paths(one["additionalProperties"], (*path, name, "openclaw"))


SCHEMA = yaml.safe_load((BUNDLED / "schema/variables.yaml").read_text())


@pytest.mark.parametrize("path", [*paths(SCHEMA)])
def test_no_value_of_the_wrong_kind_ends_in_a_crash(path):
    base = {**TYPICAL, "nemoclaw_images": {"openclaw": {}}, "nemoclaw_blueprint": {}, "nemoclaw_openshell": {}}
    for value in (None, [], {}, "", "x", 7, -1, 1.5, True, [None], [7], ["x"], [[]], [{}], {"a": None}, {"a": {"b": []}}):
        try:
            given = changed(base, path, value)
        except (TypeError, IndexError):
            continue
        for needed in (True, False) if path == "nemoclaw_credentials" else (True,):
            result = run(given, credentials_needed=needed)
            assert ("plan" in result) is not bool(result.get("failed"))
            assert result.get("msg", "x")
