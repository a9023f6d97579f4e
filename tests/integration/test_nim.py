# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A NIM from a registry that is nvcr.io to the host: login, a pull through all that a registry does on a bad day, an answer of an agent, a reboot."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.bed.registry import USER, Registry, stand_in
from tests.integration.fleet import ANSWER, Fleet, answer, changed, predicted, resources, unchanged

pytestmark = pytest.mark.long

KEY = f"nvapi-canary-{secrets.token_hex(16)}"
MODEL, REPOSITORY = "meta/llama-3.1-8b-instruct", "nim/meta/llama-3.1-8b-instruct"
IMAGE = f"nvcr.io/{REPOSITORY}:latest"
INFERENCE = {"provider": "nim", "context_window": 65536, "max_tokens": 2048}
CONTAINER = "nemoclaw-nim"
FILE = "/etc/nemoclaw/nim/ngc-api-key"
# without it, Debian's engine has nobody to give a container its GPUs
HOOK = "/usr/bin/nvidia-container-runtime-hook"
# each in a play of its own: modules as a user would call them
LOGIN = {"nemoclaw.fleet.ngc_login": {"password": "{{ key }}", "user": "ops"}}
KEPT = {"nemoclaw.fleet.ngc_login": {"password": "{{ key }}", "user": "ops", "store": "config"}}
HELD = {"nemoclaw.fleet.ngc_login": {"password": "{{ key }}", "user": "ops", "store": "helper"}}
OURS = {"nemoclaw.fleet.ngc_login": {"password": "{{ key }}", "user": "nemoclaw", "store": "config"}}
GONE = {"nemoclaw.fleet.ngc_login": {"user": "ops", "state": "absent"}}
DOCKER = {"ansible.builtin.command": {"argv": ["docker", "--config", "/home/ops/.docker", "login", "nvcr.io"]}}  # with what it has
PULL = {"nemoclaw.fleet.image": {"name": IMAGE, "platform": "host", "stall_timeout": 30, "auth": {"username": USER, "password": "{{ key }}"}}}


@pytest.fixture(scope="module")
def registry(fleet):
    with Registry(f"{fleet.bed.prefix}.1", KEY) as found:
        found.digest = found.push(stand_in(), REPOSITORY, "single")
        found.index(REPOSITORY, "latest", found.digest)
        yield found


@pytest.fixture(scope="module")
def prepared(fleet, registry) -> Fleet:
    """A host with a GPU, whose nvcr.io is here; it does not trust it yet."""
    fleet.fresh()
    fleet.touched.update(fleet.names)
    host = fleet["h1"]
    host.sh("getent passwd nemoclaw >/dev/null || useradd --create-home nemoclaw")
    host.install_gpus()
    host.write_file(HOOK, "#!/bin/sh\nexit 0\n", "0755")
    host.sh("systemctl restart docker")
    registry.known_to(host)
    fleet.variables["nemoclaw_credentials"]["NGC_API_KEY"] = KEY
    fleet.of_host["h1"] = {"nemoclaw_inference": INFERENCE, "nemoclaw_nim": {"model": MODEL}}
    yield fleet
    fleet.of_host["h1"] = {}


def change(fleet, **settings) -> None:
    fleet.of_host["h1"]["nemoclaw_nim"] = {"model": MODEL, **settings}


def results(fleet, tmp_path, *tasks: dict, key: str = KEY) -> list[dict]:
    """The results of modules on the host, one after the other."""
    path = tmp_path / "tasks.yml"
    path.write_text(json.dumps([{"hosts": "all", "become": True, "gather_facts": False, "tasks": [{"name": "One", **task} for task in tasks]}]))
    run = fleet.play(str(path), variables={"key": key})
    assert key not in run.output
    return run.of_host("h1")


def test_an_authority_that_the_host_does_not_know(prepared, tmp_path):
    [refused] = results(prepared, tmp_path, LOGIN)
    assert refused["kind"] == "tls"
    assert "has a certificate of a CA that this host does not know. Put the CA of nvcr.io into /usr/local/share/ca-certificates" in refused["msg"]


def test_login(prepared, registry, tmp_path):
    """Asked once, kept as asked for; what was kept and is not to be any more goes."""
    registry.trusted_by(prepared["h1"])
    [refused] = results(prepared, tmp_path, LOGIN, key="nvapi-wrong")
    assert refused["kind"] == "unauthorized"
    assert refused["msg"].startswith("nvcr.io does not accept the credentials of $oauthtoken: HTTP status 401: Invalid user or API key. Give a valid")
    began = len(registry.asked)
    first, again = results(prepared, tmp_path, LOGIN, LOGIN)
    assert (first["changed"], again["changed"]) == (True, False)
    assert sum("/proxy_auth" in path for _when, _method, path, _status in registry.asked[began:]) == 1
    kept, docker, not_kept = results(prepared, tmp_path, KEPT, DOCKER, LOGIN)
    assert (kept["changed"], not_kept["changed"]) == (True, True)
    assert "Login Succeeded" in docker["stdout"]
    assert prepared["h1"].sh("cat /home/ops/.docker/config.json") == "{}"


def as_ops(host, command: str) -> str:
    """A command of ops, who may use the engine."""
    return host.exec("runuser", "-u", "ops", "-G", "docker", "--", "env", "-i", "HOME=/home/ops", "PATH=/usr/bin:/bin", "sh", "-c", command).stdout.strip()


def test_login_in_a_credential_helper(prepared, registry, tmp_path):
    """In docker-credential-pass of Debian: Docker finds it there, its own file has but the helper's name, and a bad key costs nothing."""
    host = prepared["h1"]
    packages = "golang-docker-credential-helpers pass gnupg"
    host.sh(f"apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends {packages}", timeout=300)
    [refused] = results(prepared, tmp_path, HELD)
    assert "docker-credential-pass" in refused["msg"]
    assert "Set pass up for ops, or choose the store none or config." in refused["msg"]
    as_ops(host, "gpg --batch --quiet --passphrase '' --quick-generate-key bed && pass init bed")
    first, again = results(prepared, tmp_path, HELD, HELD)
    assert (first["changed"], again["changed"]) == (True, False)
    assert json.loads(host.sh("cat /home/ops/.docker/config.json")) == {"credHelpers": {"nvcr.io": "pass"}}
    assert "Login Succeeded" in as_ops(host, "docker login nvcr.io 2>&1")
    [refused] = results(prepared, tmp_path, HELD, key="nvapi-wrong")
    assert refused["kind"] == "unauthorized"
    kept = json.loads(as_ops(host, "echo nvcr.io | docker-credential-pass get"))
    assert (kept["Username"], kept["Secret"]) == (USER, KEY)
    host.exec("tee", "/run/canary", input=KEY)
    assert host.sh("grep --recursive --files-with-matches --fixed-strings --file=/run/canary /home/ops /root || true") == ""
    host.exec("rm", "/run/canary")
    gone, still = results(prepared, tmp_path, GONE, GONE)
    assert (gone["changed"], still["changed"]) == (True, False)
    assert as_ops(host, "docker-credential-pass list") == "{}"
    assert host.sh("cat /home/ops/.docker/config.json") == "{}"


def test_a_token_that_has_expired(prepared, registry, tmp_path):
    registry.expired = True
    [refused] = results(prepared, tmp_path, PULL)
    registry.expired = False
    assert refused["kind"] == "token"
    assert "does not accept the token that nvcr.io gave for good credentials (invalid_token): it has expired" in refused["msg"]


def test_a_pull_on_a_bad_day(prepared, registry, tmp_path):
    """The image of this platform, by its digest, after a limit that is waited for and a connection that was cut."""
    registry.limited, registry.retry_after, registry.cut, began = 1, 4, 1, len(registry.asked)
    pulled, again = results(prepared, tmp_path, PULL, PULL)
    assert pulled["pulled"]["source"] == f"nvcr.io/{REPOSITORY}@{registry.digest}"
    assert IMAGE in pulled["image"]["tags"]
    asked = registry.asked[began:]
    limited = next(index for index, (_when, _method, _path, status) in enumerate(asked) if status == 429)
    after = next(entry for entry in asked[limited + 1 :] if "/manifests/" in entry[2])
    assert after[0] - asked[limited][0] >= 4
    assert registry.cut == 0
    assert not again["changed"]
    prepared["h1"].sh(f"docker rmi {IMAGE}")


def test_one_run(prepared):
    run = prepared.play("onboard.yml")
    assert run.rc == 0
    assert answer(run, "h1") == ANSWER
    assert {f"image/{IMAGE}", f"nim/{CONTAINER}", f"credential/{FILE}"} <= changed(run, "h1")
    assert KEY not in run.output
    assert unchanged(prepared.play("onboard.yml"), "h1")


def test_it_serves_the_id_of_the_plan_on_the_loopback_alone(prepared):
    host = prepared["h1"]
    assert json.loads(host.sh("curl -s http://127.0.0.1:8000/v1/models"))["data"][0]["id"] == MODEL
    assert "127.0.0.1:8000" in host.sh("ss -ltnH sport = :8000")
    assert "0.0.0.0" not in host.sh("ss -ltnH sport = :8000 | awk '{print $4}'")
    assert host.sh("cat /home/nemoclaw/.cache/nim/model; stat -c %U /home/nemoclaw/.cache/nim/model") == "fetched\nnemoclaw"


def test_the_key_is_where_it_belongs_and_nowhere_else(prepared):
    """In its file, and in the environment of the server's own process; not in what the engine shows of the container."""
    host = prepared["h1"]
    host.exec("tee", "/run/canary", input=KEY)
    search = "grep --recursive --files-with-matches --fixed-strings --file=/run/canary --devices=skip --no-messages"
    places = "/etc /home /root /opt /srv /tmp /usr/local /var/cache /var/lib /var/log /var/spool /var/tmp /run"
    found = set(host.sh(f"{search} {places} || true").splitlines()) - {"/run/canary"}
    assert found == {FILE}
    assert host.sh(f"stat -c '%U %a' {FILE}") == "nemoclaw 600"
    shown = ("docker inspect $(docker ps --all --quiet)", f"docker logs {CONTAINER} 2>&1", "journalctl --no-pager", "ps -ef", "cat /proc/[0-9]*/cmdline")
    for listing in shown:
        assert host.sh(f"{listing} | grep -c --text --fixed-strings --file=/run/canary || true") == "0", listing
    process = host.sh(f"docker inspect --format '{{{{.State.Pid}}}}' {CONTAINER}")
    # the container's init has not, its child has
    assert host.sh(f"grep -c --text --fixed-strings --file=/run/canary /proc/{process}/environ || true") == "0"
    assert host.sh(f"grep -c --text --fixed-strings --file=/run/canary /proc/$(pgrep --parent {process})/environ") == "1"
    host.exec("rm", "/run/canary")


def test_after_a_reboot(prepared, registry):
    host = prepared["h1"]
    host.reboot()
    prepared.await_agent("h1")
    assert unchanged(prepared.play("onboard.yml"), "h1")


def test_one_that_does_not_come_up_leaves_the_one_before(prepared):
    """Its last words are in the message, and nothing was lost."""
    before = prepared["h1"].sh(f"docker inspect --format '{{{{.Id}}}}' {CONTAINER}")
    change(prepared, env={"STANDIN_EXIT": "3"})
    run = prepared.play("onboard.yml")
    assert run.rc != 0
    assert "ended before it answered (exit code 3). Its log ends with:" in " ".join(run.output.split())
    assert "NVIDIA Inference Microservice LLM NIM" in run.output
    assert prepared["h1"].sh(f"docker inspect --format '{{{{.Id}}}}' {CONTAINER}") == before


OWN = {"model": "own-model", "image": "nvcr.io/nim/own:1"}


def agents_model(fleet) -> set[str]:
    """The ids in the agent's configuration, as it is in the sandbox."""
    config = json.loads(fleet.inside("h1", "cat ~/.openclaw/openclaw.json"))
    return {one["id"] for provider in config["models"]["providers"].values() for one in provider["models"]}


def test_an_id_that_no_configuration_takes(prepared, registry):
    """Refused before anything that uses it is touched."""
    registry.known_to(prepared["h1"])  # the reboot has made it forget
    registry.push(stand_in(own_id="own model"), "nim/unsafe", "1")
    change(prepared, model="own-model", image="nvcr.io/nim/unsafe:1")
    run = prepared.play("onboard.yml")
    assert run.rc != 0
    assert "serves 'own model', an id that is refused for its characters" in " ".join(run.output.split())
    assert agents_model(prepared) == {MODEL}
    assert prepared.chat("h1")


def test_one_that_insists_on_an_id(prepared, registry, tmp_path):
    """Its id is adopted in the same run, by whatever asks it; the next run knows it while the server is down as well."""
    registry.push(stand_in(own_id="own/model"), "nim/own", "1")
    change(prepared, **OWN)
    plans = {"nemoclaw_plan_dir": str(tmp_path)}
    assert prepared.play("plan.yml", variables=plans).rc == 0
    run = prepared.play("onboard.yml", variables=plans)
    assert run.rc != 0
    assert "NIM serves own/model, and the plan that was approved says own-model." in run.output
    assert agents_model(prepared) == {MODEL}
    prepared["h1"].sh(f"docker rm --force {CONTAINER}; rm /etc/nemoclaw/nim/{CONTAINER}.served.json")

    run = prepared.play("onboard.yml")
    assert run.rc == 0
    assert "NIM was told to serve as own-model and serves own/model: inference and sandboxes use that." in " ".join(run.output.split())
    assert answer(run, "h1") == ANSWER
    assert agents_model(prepared) == {"own/model"}
    assert unchanged(prepared.play("onboard.yml"), "h1")
    prepared["h1"].sh(f"docker stop {CONTAINER}")
    run = prepared.play("onboard.yml", check=True)
    assert resources(predicted(run, "h1")) == {f"nim/{CONTAINER}"}
    assert prepared.play("onboard.yml").rc == 0
    assert unchanged(prepared.play("onboard.yml"), "h1")


def test_an_id_that_the_user_names(prepared):
    """Then another one is an error that says what to set; the server from before serves on."""
    change(prepared, **OWN, served_model="wished/model")
    run = prepared.play("onboard.yml")
    assert run.rc != 0
    assert "serves own/model, not wished/model. " in run.output
    assert "Set nemoclaw_nim.served_model to own/model" in run.output
    assert agents_model(prepared) == {"own/model"}


def test_another_model_has_none_of_it(prepared):
    """What was adopted is the other image's id; back there, it is adopted again, and a roll back knows which plan had which."""
    change(prepared)
    run = prepared.play("onboard.yml")
    assert run.rc == 0
    assert answer(run, "h1") == ANSWER
    assert agents_model(prepared) == {MODEL}
    run = prepared.play("rollback.yml")
    assert run.rc == 0
    assert answer(run, "h1") == ANSWER
    assert agents_model(prepared) == {"own/model"}


def test_another_provider_leaves_it_until_it_is_pruned(prepared):
    """Then server, key and login are gone; image and cache stay."""
    host = prepared["h1"]
    prepared.of_host["h1"] = {}
    switched = prepared.play("onboard.yml")
    assert switched.rc == 0
    assert f"h1: {CONTAINER} of an earlier run runs on port 8000" in " ".join(switched.output.split())
    assert host.sh(f"docker ps --quiet --filter name={CONTAINER}")
    prepared.of_host["h1"] = {"nemoclaw_prune": True}
    pruned = prepared.play("onboard.yml")
    assert pruned.rc == 0
    assert answer(pruned, "h1") == ANSWER
    assert {f"nim/{CONTAINER}", "login/nvcr.io", f"credential/{FILE}"} <= resources(predicted(pruned, "h1"))
    assert host.sh(f"docker ps --all --quiet --filter name={CONTAINER}; find /etc -path '/etc/nemoclaw/*' -type f") == ""
    assert host.sh("cat /home/nemoclaw/.cache/nim/model") == "fetched"
    assert unchanged(prepared.play("onboard.yml"), "h1")


def test_offboarding_leaves_no_login(prepared, tmp_path):
    """The user was there before, so its home stays, with what it has kept itself; that the server has gone already is no matter."""
    host, path, own = prepared["h1"], "/home/nemoclaw/.docker/config.json", {"auths": {"other.example": {"auth": "bWU6bWluZQ=="}}}
    host.sh("install --directory --owner nemoclaw --group nemoclaw --mode 0700 /home/nemoclaw/.docker")
    host.write_file(path, json.dumps(own), "0600", "nemoclaw:nemoclaw")
    [kept] = results(prepared, tmp_path, OURS)
    assert kept["changed"]
    assert "nvcr.io" in json.loads(host.read_file(path))["auths"]
    prepared.of_host["h1"] = {"nemoclaw_inference": INFERENCE, "nemoclaw_nim": {"model": MODEL, "login": {"store": "config"}}}
    assert prepared.play("offboard.yml", limit="h1").rc == 0
    assert json.loads(host.read_file(path)) == own
    assert host.sh("ls /etc/nemoclaw-*.json /home/nemoclaw/.nemoclaw 2>/dev/null || true") == ""
