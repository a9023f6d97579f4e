# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each resource read and compared on recorded answers of the real OpenShell, and applied with the arguments that it took."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import stat

import pytest
import yaml

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import exec as inside
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import gateway as gateways
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import policy as policies
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import sandbox as sandboxes
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShellError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.fingerprints import Fingerprints
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.gateway import Gateway
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.policy import Policy
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.provider import Provider
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.route import Route
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.sandbox import SPEC_LABEL, Sandbox
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError, ansible_diff
from tests.unit.recorded import Answers, Scripted, answer, steps

KEY = "sk-one"  # as in the transcripts
URL = "http://127.0.0.1:8102/v1"
PROVIDER = {"name": "llm", "type": "openai", "config": {"OPENAI_BASE_URL": URL}, "credentials": {"OPENAI_API_KEY": KEY}}


def fields(changes):
    return {change.field: (change.before, change.after) for change in changes}


def converge(resource):
    """As a module does it; returns what changed."""
    state = resource.read()
    changes = resource.diff(state)
    if changes:
        resource.apply(state, changes)
    return fields(changes)


def secrets_in_arguments(run, secret=KEY):
    return [asked for asked, _how in run.made if secret in " ".join(asked)]


# --- provider ---------------------------------------------------------------------------------------------------------------------------


def test_provider_is_made_and_then_as_planned(openshell):
    run = Answers("provider_lifecycle")
    assert list(converge(Provider(PROVIDER, openshell(run)))) == ["type", "config", "credential_keys"]
    assert run.commands() == ["provider list", "provider create", "provider list"]
    assert run.made[1][1]["env"]["OPENAI_API_KEY"] == KEY
    assert secrets_in_arguments(run) == []
    again = Provider(PROVIDER, openshell(Answers("provider_lifecycle", after="provider create")))
    assert again.changes() == []


@pytest.fixture
def made(openshell):
    """A provider made here, at version 1; the client goes on behind its creation."""
    Provider(PROVIDER, openshell(Answers("provider_lifecycle"))).apply({}, [])
    return lambda after="provider create --name llm --type openai --credential OPENAI_API_KEY --config": openshell(Answers("provider_lifecycle", after=after))


def test_a_new_secret_is_a_change_that_does_not_show_it(made):
    provider = Provider({**PROVIDER, "credentials": {"OPENAI_API_KEY": "sk-two"}}, made())
    changes = provider.changes()
    assert list(fields(changes)) == ["credentials"]
    shown = json.dumps([change.as_dict() for change in changes]) + str(ansible_diff(changes))
    assert "sk-two" not in shown
    assert KEY not in shown


def test_a_key_of_the_host_is_read_from_its_file(made, tmp_path):
    path = tmp_path / "token"
    by_file = {key: value for key, value in PROVIDER.items() if key != "credentials"} | {"credential_files": {"OPENAI_API_KEY": str(path)}}
    path.write_text(f"{KEY}\n")
    assert Provider(by_file, made()).changes() == []
    path.write_text("another\n")
    assert list(fields(Provider(by_file, made()).changes())) == ["credentials"]
    path.unlink()
    with pytest.raises(ResourceError, match=f"OPENAI_API_KEY. {path} is to hold it"):
        Provider(by_file, made()).apply({}, [])


def test_a_new_address_is_a_change(made):
    provider = Provider({**PROVIDER, "config": {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}}, made())
    assert fields(provider.changes()) == {"config": ({"OPENAI_BASE_URL": URL}, {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})}


def test_what_somebody_else_changed_is_put_right(made):
    # the recording goes on with an update that was not ours: version 2
    provider = Provider(PROVIDER, made("provider update llm"))
    assert list(fields(provider.changes())) == ["managed"]


def test_a_provider_of_unknown_origin_is_put_right(openshell):
    provider = Provider(PROVIDER, openshell(Answers("provider_lifecycle", after="provider create")))
    assert fields(provider.changes())["config"] == (None, {"OPENAI_BASE_URL": URL})


def test_a_config_key_that_is_not_wanted_any_more_is_emptied(openshell):
    run = Answers("provider_lifecycle", after="provider create", loose=("provider update",))
    state = {"type": "openai", "config": {"OPENAI_BASE_URL": URL}}
    Provider({**PROVIDER, "config": {}}, openshell(run)).apply(state, [])
    assert run.made[0][0] == ["provider", "update", "llm", "--credential", "OPENAI_API_KEY", "--config", "OPENAI_BASE_URL="]


def test_an_empty_secret_is_refused_before_a_call(openshell):
    run = Answers("provider_lifecycle")
    with pytest.raises(ResourceError, match=r"no value for its credential OPENAI_API_KEY.*nemoclaw_credentials"):
        Provider({**PROVIDER, "credentials": {"OPENAI_API_KEY": ""}}, openshell(run)).apply({}, [])
    assert run.made == []


def test_provider_is_deleted_and_its_record_too(made):
    client = made()
    provider = Provider({"name": "llm", "state": "absent"}, client)
    assert fields(provider.changes()) == {"state": ("present", "absent")}
    provider.apply({"type": "openai"}, [])
    assert client._run.commands()[-1] == "provider delete"
    assert Fingerprints(client.account, "nemoclaw").records() == {}
    assert provider.diff({}) == []


def test_fingerprints_hold_no_secret_and_are_the_owners_alone(made, tmp_path):
    folder = tmp_path / ".nemoclaw" / "fingerprints"
    assert KEY not in (folder / "nemoclaw.json").read_text()
    assert {stat.S_IMODE(os.stat(folder / name).st_mode) for name in ("key", "nemoclaw.json")} == {0o600}
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


# --- route ------------------------------------------------------------------------------------------------------------------------------

ROUTE = {"provider": "llm", "model": "tiny-agent", "timeout": 180}


def test_route_is_made_and_then_as_planned(openshell):
    run = Answers("inference_route", after="inference set --provider llm --model tiny-agent --no-verify")
    assert fields(Route(ROUTE, openshell(run)).changes()) == {"timeout": (60, 180)}
    assert converge(Route(ROUTE, openshell(run))) == {"timeout": (60, 180)}
    assert run.made[-1][0] == "inference set --provider llm --model tiny-agent --no-verify --timeout 180".split()
    assert Route(ROUTE, openshell(run)).changes() == []
    assert fields(Route(ROUTE, openshell(run)).changes()) == {"model": ("other", "tiny-agent")}  # the next recorded state


def test_no_route_yet(openshell):
    assert fields(Route(ROUTE, openshell(Answers("inference_route"))).changes()) == {
        "provider": (None, "llm"),
        "model": (None, "tiny-agent"),
        "timeout": (None, 180),
    }


def test_the_gateways_default_timeout_is_no_difference(openshell):
    run = Answers("inference_route", after="inference set --provider llm --model tiny-agent --no-verify")
    assert Route({"provider": "llm", "model": "tiny-agent", "timeout": 0}, openshell(run)).changes() == []


def test_a_gateway_that_is_down_is_no_missing_route(openshell):
    with pytest.raises(OpenShellError) as error:
        Route(ROUTE, openshell(Answers("gateway_down"))).read()
    assert error.value.kind == "unreachable"


# --- policy -----------------------------------------------------------------------------------------------------------------------------


def given(name: str) -> dict:
    """A policy that was set in the recording."""
    return yaml.safe_load(next(step["files"][name] for step in steps("policy_set") if name in step.get("files", {})))


def policy(openshell, desired, after="policy set a --policy ro.yaml", **options):
    return Policy({"sandbox": "a", "policy": desired, **options}, openshell(Answers("policy_set", after=after)))


def test_what_was_set_is_no_difference_when_read_back(openshell):
    assert policy(openshell, given("ro.yaml")).changes() == []


def test_a_changed_rule_is_one_difference(openshell):
    changes = fields(policy(openshell, given("rw.yaml")).changes())
    assert list(changes) == ["network_policies.echo"]
    assert [rule["endpoints"][0]["access"] for rule in changes["network_policies.echo"]] == ["read-only", "read-write"]


def test_a_new_path_is_a_difference_and_a_path_that_the_sandbox_added_is_none(openshell):
    assert fields(policy(openshell, given("fs.yaml")).changes()) == {"filesystem_policy.read_only": ([], ["/opt"])}
    added = {**given("ro.yaml"), "filesystem_policy": {**given("ro.yaml")["filesystem_policy"], "read_only": ["/var/log", "/app", "/dev/nvidia0"]}}
    assert policy(openshell, given("ro.yaml")).static_changes(policies.merged(given("ro.yaml"), added)) == []


def test_a_path_that_is_to_go_takes_a_rebuild(openshell):
    resource = policy(openshell, given("ro.yaml"), after="fs.yaml")
    state = resource.read()
    assert fields(resource.static_changes(state)) == {"filesystem_policy.read_only": (["/opt"], [])}
    with pytest.raises(ResourceError, match=r"differs in filesystem_policy.read_only.*rebuild"):
        resource.apply(state, [])


def written(monkeypatch):
    """The policies that are written for a call, as objects; every path is ro.yaml, as in the recording."""
    found = []

    @contextlib.contextmanager
    def file(content):
        found.append(content)
        yield "ro.yaml"

    monkeypatch.setattr(policies, "policy_file", file)
    return found


def test_setting_keeps_the_paths_that_the_sandbox_has(openshell, monkeypatch):
    found = written(monkeypatch)
    run = Answers("policy_set", loose=("policy set",))
    state = policies.merged(given("ro.yaml"), {"filesystem_policy": {"read_only": ["/var/log"]}})
    Policy({"sandbox": "a", "policy": given("ro.yaml")}, openshell(run)).apply(state, [])
    assert "/var/log" in found[0]["filesystem_policy"]["read_only"]
    assert run.made[0][0] == "policy set a --policy ro.yaml --wait --timeout 120".split()


@pytest.mark.parametrize(("name", "field"), [("ll.yaml", "landlock"), ("pr.yaml", "process")])
def test_what_the_gateway_refuses_on_a_live_sandbox_is_known_before(openshell, name, field):
    resource = policy(openshell, given(name))
    state = resource.read()
    assert [change.field for change in resource.static_changes(state)] == [field]
    with pytest.raises(ResourceError, match=rf"differs in {field}.*rebuild"):
        resource.apply(state, [])


def test_a_policy_that_was_stored_but_not_loaded(openshell, monkeypatch):
    written(monkeypatch)
    run = Answers("policy_set", after="sandbox stop a", loose=("policy set",))
    with pytest.raises(ResourceError, match="stored, but the sandbox did not load it within 3 s"):
        Policy({"sandbox": "a", "policy": given("ro.yaml"), "timeout": 3}, openshell(run)).apply({**given("ro.yaml")}, [])


def test_a_policy_that_cannot_be_loaded_is_told_from_a_timeout_and_the_one_before_put_back(openshell, monkeypatch):
    found = written(monkeypatch)
    run = Scripted(answer("more_policy", "badl7.yaml"), answer("more_policy", "--policy first.yaml --wait"))
    bad = {**given("ro.yaml"), "network_policies": {"lab": {"endpoints": [{"host": "a", "port": 443}], "binaries": [{"path": "/a"}]}}}
    with pytest.raises(ResourceError, match=r"cannot load its policy: .*mutually exclusive.*put back"):
        Policy({"sandbox": "lab", "policy": bad}, openshell(run)).apply(given("ro.yaml"), [])
    assert found[-1] == given("ro.yaml")


def test_a_changed_rule_says_what_opens_and_what_closes(openshell):
    change = next(change for change in policy(openshell, given("rw.yaml")).changes() if change.field == "network_policies.echo")
    assert {one["method"] for one in change.as_dict()["opens"]} == {"POST", "PUT", "PATCH"}
    assert change.as_dict()["closes"] == []
    said = "opens host.openshell.internal:8102 (at 172.16.0.0/12, 192.168.0.0/16) PATCH /**, POST /**, PUT /** by /usr/bin/curl"
    assert str(change).endswith(f": {said}")
    assert ansible_diff([change]) == {"before": "", "after": f"policy/a network_policies.echo: {said}\n"}


def test_rules_of_one_meaning_are_equal():
    one = {"network_policies": {"x": {"name": "x", "endpoints": [{"host": "b", "port": 2}, {"host": "a", "ports": [443, 80]}], "binaries": ["/b", "/a"]}}}
    two = {
        "network_policies": {
            "x": {
                "endpoints": [{"host": "a", "ports": [80, 443], "tls": ""}, {"host": "b", "ports": [2], "port": 2}],
                "binaries": [{"path": "/a"}, {"path": "/b"}],
            },
            "_provider_tg": {"endpoints": [{"host": "c", "port": 1}]},
        }
    }
    assert policies.rules(one) == policies.rules(two)
    assert policies.rules({}) == policies.rules({"network_policies": None}) == {}


def test_rules_of_other_meaning_differ():
    rule = {"endpoints": [{"host": "a", "port": 443}], "binaries": [{"path": "/a"}]}
    others = {"binaries": [{"path": "/b"}]}, {"endpoints": [{"host": "a", "port": 80}]}, {"endpoints": [{"host": "a", "port": 443, "access": "full"}]}
    for other in others:
        assert policies.rules({"network_policies": {"x": rule}}) != policies.rules({"network_policies": {"x": {**rule, **other}}})


def test_filesystem_in_one_form():
    assert policies.filesystem({}) == {"include_workdir": False, "read_only": [], "read_write": []}
    assert policies.filesystem({"filesystem_policy": {"read_only": ["/b", "/a"], "include_workdir": True}})["read_only"] == ["/a", "/b"]


def test_merging_adds_and_does_not_touch_its_inputs():
    desired, live = given("ro.yaml"), given("fs.yaml")
    result = policies.merged(desired, live)
    assert result["filesystem_policy"]["read_only"] == [*desired["filesystem_policy"]["read_only"], "/opt"]
    assert desired == given("ro.yaml")
    assert policies.merged(result, live) == result


def test_the_file_of_a_policy_is_gone_afterwards():
    with policies.policy_file({"version": 1}) as path:
        assert yaml.safe_load(pathlib.Path(path).read_text()) == {"version": 1}
    assert not os.path.exists(path)


# --- sandbox ----------------------------------------------------------------------------------------------------------------------------

SANDBOX = {"name": "a", "image": "nf/sandbox:1", "policy": given("ro.yaml")}


def test_the_digest_of_a_spec_covers_what_only_a_rebuild_changes():
    digest = sandboxes.spec_digest(SANDBOX)
    assert digest == sandboxes.spec_digest({**SANDBOX, "policy": {}, "labels": {"a": "b"}, "files": [1], "cpu": None, "mounts": []})
    for change in ({"image": "nf/sandbox:2"}, {"cpu": "2"}, {"memory": "4Gi"}, {"mounts": [{"type": "bind"}]}, {"cdi_devices": ["nvidia.com/gpu=all"]}):
        assert sandboxes.spec_digest({**SANDBOX, **change}) != digest
    assert len(digest) == 32


def test_sandbox_is_created(openshell):
    run = Answers("sandbox_lifecycle", loose=("sandbox create",))
    mounts = [{"type": "volume", "source": "v", "target": "/sandbox/v"}]
    desired = {**SANDBOX, "cpu": "2", "memory": "4Gi", "mounts": mounts, "labels": {"nemoclaw.fleet/agent": "openclaw"}}
    sandbox = Sandbox(desired, openshell(run))
    assert fields(sandbox.diff({})) == {"state": ("absent", "present"), "image": (None, "nf/sandbox:1")}
    sandbox._create()
    asked, how = run.made[0]
    assert asked[:6] == ["sandbox", "create", "--name", "a", "--from", "nf/sandbox:1"]
    assert "--no-auto-providers" in asked
    assert asked[asked.index("--cpu") + 1] == "2"
    assert json.loads(asked[asked.index("--driver-config-json") + 1]) == {"docker": {"mounts": desired["mounts"]}}
    assert f"{SPEC_LABEL}={sandboxes.spec_digest(desired)}" in asked
    assert how["env"]["OPENSHELL_PROVISION_TIMEOUT"] == "300"
    assert how["timeout"] > 300
    assert Fingerprints(sandbox.client.account, "nemoclaw").records()["sandbox/a"]["spec"]["cpu"] == "2"


def recorded_sandbox(openshell):
    return Sandbox({**SANDBOX, "name": "assistant"}, openshell(Answers("onboard_first_and_again", after="sandbox list -o json")))


def test_a_live_sandbox_is_read_with_its_label(openshell):
    assert recorded_sandbox(openshell).read() == {"phase": "Ready", "spec": "0123456789abcdef", "files": {}}


def test_another_image_takes_a_rebuild_and_is_refused(openshell, monkeypatch):
    sandbox = recorded_sandbox(openshell)
    Fingerprints(sandbox.client.account, "nemoclaw").record("sandbox/assistant", "0123456789abcdef", spec={"image": "nf/sandbox:0"})
    state = sandbox.read()
    assert fields(sandbox.diff(state)) == {"image": ("nf/sandbox:0", "nf/sandbox:1")}
    before = len(sandbox.client._run.made)
    with pytest.raises(ResourceError, match=r"must be rebuilt: image changed.*nemoclaw_allow_rebuild"):
        sandbox.apply(state, [])
    assert len(sandbox.client._run.made) == before


def test_a_sandbox_in_error_gets_its_container_back(openshell):
    started = []

    def start(labels):
        started.append(labels)
        return True

    run = Answers("container_lost", after="docker kill")
    sandbox = Sandbox(SANDBOX, openshell(run), start)
    state = sandbox.read()
    assert "files" not in state
    assert fields(sandbox.diff({**state, "spec": sandboxes.spec_digest(SANDBOX)})) == {"phase": ("Error", "Ready")}
    sandbox._revive("Error")
    assert started == [{"openshell.ai/managed-by": "openshell", "openshell.ai/sandbox-namespace": "nemoclaw", "openshell.ai/sandbox-name": "a"}]
    assert set(run.commands()) == {"sandbox get"}  # healed: neither deleted nor created


def test_a_sandbox_whose_container_is_lost_says_so(openshell):
    sandbox = Sandbox(SANDBOX, openshell(Answers("container_lost", after="docker kill")), lambda labels: False)
    with pytest.raises(ResourceError, match=r"phase Error and its container cannot be started.*nemoclaw_allow_rebuild"):
        sandbox._revive("Error")


def test_a_stopped_sandbox_is_started(openshell):
    run = Answers("sandbox_lifecycle", after="sandbox stop a")
    Sandbox(SANDBOX, openshell(run))._revive("Stopped")
    assert run.commands() == ["sandbox start", "sandbox get"]


def test_a_failed_create_leaves_nothing_in_the_way(openshell):
    run = Scripted(
        answer("sandbox_errors", "nf/absent:1"),
        answer("sandbox_errors", "sandbox get img"),
        answer("sandbox_errors", "sandbox delete img"),
        answer("sandbox_lifecycle", "sandbox get a", failed=True),
    )
    with pytest.raises(OpenShellError, match="ImagePullFailed"):
        Sandbox({**SANDBOX, "name": "img", "image": "nf/absent:1"}, openshell(run))._create()
    assert [argv[3:5] for argv, _how in run.made] == [["sandbox", word] for word in ("create", "get", "delete", "get")]


def test_sandbox_is_deleted(openshell):
    run = Answers("sandbox_lifecycle", after="sandbox start a")
    sandbox = Sandbox({"name": "a", "state": "absent"}, openshell(run))
    assert fields(sandbox.diff({"phase": "Ready"})) == {"state": ("present", "absent")}
    assert sandbox.diff({}) == []
    sandbox.apply({"phase": "Ready"}, [])
    assert run.commands() == ["sandbox delete", "sandbox get"]


# --- files in a sandbox: the commands are run here ----------------------------------------------------------------------------------------


@pytest.fixture
def local(openshell):
    return openshell(Answers("exec", local=True))


def test_a_file_is_written_read_back_and_compared(local, tmp_path):
    path = f"{tmp_path}/deep/er/it's a file"
    inside.write(local, "a", path, "content\n", "0640")
    entry = {"path": path, "content": "content\n", "mode": "0640"}
    absent = {**entry, "path": f"{tmp_path}/absent"}
    sandbox = Sandbox({**SANDBOX, "files": [entry, absent]}, local)
    found = sandbox._read_files()
    assert fields(sandbox._file_changes({"files": found})) == {"content": (None, "content\n"), "mode": (None, "0640")}
    assert {change.resource for change in sandbox._file_changes({"files": found})} == {f"sandbox/a:{absent['path']}"}
    for change in ({"content": "other"}, {"mode": "0600"}):
        other = Sandbox({**SANDBOX, "files": [{**entry, **change}]}, local)
        [(key, wanted)] = change.items()
        assert fields(other._file_changes({"files": other._read_files()})) == {key: (entry[key], wanted)}
    assert sandbox._file_changes({}) == []  # not running: not known


def test_a_content_is_no_argument(local, tmp_path):
    inside.write(local, "a", f"{tmp_path}/f", "canary", "0600")
    assert secrets_in_arguments(local._run, "canary") == []


def test_a_refused_file_leaves_the_old_one(local, tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(OpenShellError, match="refuses the new") as error:
        inside.write(local, "a", str(path), "bad", "0600", ["grep", "-q", "good", "{path}"])
    assert error.value.kind == "invalid"
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("f")] == ["f"]
    inside.write(local, "a", str(path), "good", "0600", ["grep", "-q", "good", "{path}"])
    assert path.read_text() == "good"


def test_a_directory_that_cannot_be_written_is_an_error(local, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OpenShellError, match="could not be written in the sandbox a"):
        inside.write(local, "a", f"{tmp_path}/file/f", "x", "0600")


# --- gateway ----------------------------------------------------------------------------------------------------------------------------

ENDPOINT = "https://127.0.0.1:17670"


@pytest.fixture
def tls(tmp_path):
    """What a gateway makes at its start."""
    for name in gateways.BUNDLE.values():
        path = tmp_path / "tls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return str(tmp_path / "tls")


def gateway(openshell, run, tls, **more):
    return Gateway({"name": "nemoclaw", "endpoint": ENDPOINT, "tls_dir": tls, "timeout": 0, **more}, openshell(run))


def test_gateway_is_registered_with_its_certificates_and_then_as_planned(openshell, tls, tmp_path):
    run = Answers("gateway_register", after="mkdir -p")
    resource = gateway(openshell, run, tls)
    resource.apply({}, [])
    assert run.made[0][0] == ["gateway", "add", ENDPOINT, "--local", "--name", "nemoclaw"]
    bundle = tmp_path / ".config/openshell/gateways/nemoclaw/mtls"
    assert (bundle / "tls.key").read_text() == "client/tls.key"
    assert stat.S_IMODE((bundle / "tls.key").stat().st_mode) == 0o600
    assert gateway(openshell, Answers("gateway_register", after="gateway add"), tls).changes() == []


def test_a_gateway_that_is_to_go_needs_no_certificates(openshell):
    resource = Gateway({"name": "nemoclaw", "endpoint": ENDPOINT, "state": "absent"}, openshell(Answers("gateway_register", after="gateway add")))
    assert fields(resource.changes()) == {"state": ("present", "absent")}


def test_no_gateway_was_ever_registered(openshell, tls):
    resource = gateway(openshell, Answers("unconfigured"), tls)
    assert resource.read() == {}
    assert fields(resource.diff({})) == {"endpoint": (None, ENDPOINT), "certificate": (None, True), "connected": (None, True)}


def test_a_gateway_that_is_down_is_registered_but_not_connected(openshell, tls):
    state = gateway(openshell, Answers("gateway_down", after="gateway_stop", until="gateway_start"), tls).read()
    assert (state["endpoint"], state["connected"]) == (ENDPOINT, False)


def test_new_certificates_are_a_change(openshell, tls, tmp_path):
    bundle = tmp_path / ".config/openshell/gateways/nemoclaw/mtls"
    bundle.mkdir(parents=True)
    for name, source in gateways.BUNDLE.items():
        (bundle / name).write_text(source)
    (bundle / "ca.crt").write_text("of an earlier gateway")
    assert list(fields(gateway(openshell, Answers("gateway_register", after="gateway add"), tls).changes())) == ["certificate"]


def test_a_gateway_without_certificates_says_what_makes_them(openshell, tmp_path):
    with pytest.raises(ResourceError, match=r"There are no certificates in .*Run the role nemoclaw\.fleet\.gateway"):
        gateway(openshell, Answers("unconfigured"), str(tmp_path / "nothing")).apply({}, [])


@pytest.mark.parametrize(("version", "said"), [("0.1.0", "too new"), ("0.2.3", "too new"), ("0.0.36", "too old"), ("0.0.71", "too old")])
def test_a_version_that_is_not_understood(version, said):
    with pytest.raises(ResourceError, match=rf"OpenShell {version} is {said}.*[Ii]nstall one from 0\.0\.72 to before 0\.1\.0"):
        gateways.check_version(version, "0.0.72", "0.1.0")


@pytest.mark.parametrize("version", ["0.0.72", "0.0.106", "0.0.106-dev.3"])
def test_a_version_that_is(version):
    gateways.check_version(version, "0.0.72", "0.1.0")


def test_the_version_is_checked_on_reading(openshell, tls):
    run = Answers("onboard_first_and_again")
    resource = gateway(openshell, run, tls, versions={"minimum": "0.0.107", "below": "0.1.0"})
    with pytest.raises(ResourceError, match=r"OpenShell 0\.0\.106 is too old"):
        resource.read()
