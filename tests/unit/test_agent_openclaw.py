# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenClaw: its configuration as pure functions, against its schema and its own validator; its image's start and stop."""

from __future__ import annotations

import gzip
import json
import pathlib
import re
import shlex
import subprocess
import time
import uuid

import jmespath
import jsonschema
import pytest
import yaml

from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._agents import AGENTS, openclaw
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils._agents import settings as common

ROOT = pathlib.Path(__file__).resolve().parents[2]
AGENT = ROOT / "blueprint" / "agents" / "openclaw"
SCHEMA = pathlib.Path(__file__).parent / "data" / "openclaw-2026.9.6-config-schema.json.gz"
LEAST = {"model": "org/model-8b"}
MOST = {
    "model": "tiny-agent",
    "context_window": 65536,
    "max_tokens": 2048,
    "api": "anthropic-messages",
    "dashboard_port": 28789,
    "allowed_origins": ["https://agents.example.org"],
    "config": {
        "agents": {"defaults": {"timeoutSeconds": 600}},
        "channels": {
            "telegram": {"enabled": True, "botToken": "${TELEGRAM_BOT_TOKEN}", "dmPolicy": "allowlist", "allowFrom": [123], "groupPolicy": "disabled"},
        },
    },
    "env": {"GREETING": 'it\'s $HOME `here`\n"two" lines', "TMPDIR": "/sandbox/tmp"},
}


@pytest.fixture(scope="module")
def manifest() -> dict:
    return yaml.safe_load((AGENT / "manifest.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema() -> dict:
    return json.loads(gzip.decompress(SCHEMA.read_bytes()))


@pytest.mark.parametrize("settings", [LEAST, MOST], ids=["least", "most"])
def test_configuration_fits_openclaws_schema(settings: dict, manifest: dict, schema: dict) -> None:
    jsonschema.Draft7Validator(schema).validate(openclaw.config(settings, manifest))


def test_schema_would_tell_a_wrong_configuration(manifest: dict, schema: dict) -> None:
    wrong = openclaw.config({**LEAST, "config": {"gateway": {"prot": 1}}}, manifest)
    assert not jsonschema.Draft7Validator(schema).is_valid(wrong)


def test_model_is_written_as_the_endpoint_calls_it(manifest: dict) -> None:
    config = openclaw.config(LEAST, manifest)
    assert config["agents"]["defaults"]["model"]["primary"] == "inference/org/model-8b"
    assert [model["id"] for model in config["models"]["providers"]["inference"]["models"]] == ["org/model-8b"]


@pytest.mark.parametrize(("api", "url"), [("openai-responses", "https://inference.local/v1"), ("anthropic-messages", "https://inference.local")])
def test_base_url_follows_the_api(api: str, url: str, manifest: dict) -> None:
    assert openclaw.config({**LEAST, "api": api}, manifest)["models"]["providers"]["inference"]["baseUrl"] == url


def test_dashboard_answers_only_to_loopback_and_listed_origins(manifest: dict) -> None:
    gateway = openclaw.config(MOST, manifest)["gateway"]
    assert gateway["bind"] == "loopback"
    assert gateway["controlUi"]["allowedOrigins"] == ["http://127.0.0.1:28789", "http://localhost:28789", "https://agents.example.org"]


def test_users_settings_are_merged_and_inputs_stay_as_they_were(manifest: dict) -> None:
    before = json.dumps([MOST, manifest])
    config = openclaw.config(MOST, manifest)
    assert config["agents"]["defaults"] == {"model": {"primary": "inference/tiny-agent"}, "timeoutSeconds": 600}
    assert json.dumps([MOST, manifest]) == before


def test_files_are_canonical_and_private(manifest: dict) -> None:
    rendered = {item["name"]: item for item in openclaw.files(MOST, manifest)}
    shuffled = openclaw.files(dict(reversed(MOST.items())), manifest)
    assert [item["content"] for item in shuffled] == [item["content"] for item in rendered.values()]
    assert {item["path"]: item["mode"] for item in rendered.values()} == {"/sandbox/.openclaw/openclaw.json": "0600", "/sandbox/.nemoclaw/env": "0600"}
    assert (rendered["config"]["restart"], rendered["env"]["restart"]) == (False, True)
    assert rendered["config"]["content"].endswith("}\n")


def test_env_file_gives_a_shell_exactly_the_values(manifest: dict) -> None:
    content = next(item["content"] for item in openclaw.files(MOST, manifest) if item["name"] == "env")
    shell = subprocess.run(["bash", "-c", "set -a; . /dev/stdin; env -0"], input=content, capture_output=True, text=True, check=True, env={})
    seen = dict(line.split("=", 1) for line in shell.stdout.split("\0") if line)
    assert {name: seen.get(name) for name in manifest["env"]} == {**manifest["env"], "TMPDIR": "/sandbox/tmp"}
    assert seen["GREETING"] == MOST["env"]["GREETING"]


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        ({"model": ""}, "model"),
        ({"context_window": 8192}, "context_window"),
        ({"context_window": 40000, "max_tokens": 40000}, "max_tokens"),
        ({"api": "completions"}, "api"),
        ({"env": {"1ST": "x"}}, "env.1ST"),
        ({"env": {"OPENCLAW_STATE_DIR": "/tmp"}}, "env.OPENCLAW_STATE_DIR"),
        ({"env": {"GITHUB_TOKEN": "x"}}, "env.GITHUB_TOKEN"),
        ({"env": {"LIST": ["x"]}}, "env.LIST"),
        ({"config": {"gateway": {"port": 1}}}, "config.gateway.port"),
        ({"config": {"gateway": None}}, "config.gateway"),
        ({"config": {"gateway": {"auth": {"mode": "none"}}}}, "config.gateway.auth.mode"),
        ({"config": {"channels": {"telegram": {"accounts": [{"botToken": "123:abc"}]}}}}, "config.channels.telegram.accounts.0.botToken"),
        ({"allowed_origins": ["https://ok.example", "agents.example.org"]}, "allowed_origins.1"),
        ({"allowed_origins": ["https://agents.example.org/"]}, "allowed_origins.0"),
        ({"allowed_origins": ["https://me:pw@agents.example.org"]}, "allowed_origins.0"),
    ],
)
def test_each_mistake_is_named_with_its_remedy(settings: dict, variable: str, manifest: dict) -> None:
    problems = openclaw.errors({**LEAST, **settings}, manifest)
    assert [problem[0] for problem in problems] == [variable]
    assert all(problems[0][1:])
    assert "123:abc" not in str(problems)


def test_all_mistakes_are_told_at_once(manifest: dict) -> None:
    problems = openclaw.errors({"context_window": 1, "api": "x", "env": {"A B": ""}, "config": {"gateway": {"mode": "remote"}}}, manifest)
    assert {problem[0] for problem in problems} == {"model", "context_window", "api", "env.A B", "config.gateway.mode"}


@pytest.mark.parametrize("settings", [LEAST, MOST, {**LEAST, "config": {"gateway": {}}}])
def test_good_settings_have_no_mistakes(settings: dict, manifest: dict) -> None:
    assert openclaw.errors(settings, manifest) == []


def test_reserved_settings_are_the_ones_generated(manifest: dict) -> None:
    config = openclaw.config(LEAST, manifest)
    assert [path for path in manifest["config_reserved"] if jmespath.search(path, config) is None] == []


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_manifest_and_its_files_fit_together(agent: str) -> None:
    folder = ROOT / "blueprint" / "agents" / agent
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))
    copied = {
        word for line in (folder / manifest["dockerfile"]).read_text(encoding="utf-8").splitlines() if line.startswith("COPY ") for word in line.split()[1:-1]
    }
    assert copied == {item["path"] for item in manifest["image_files"]}
    assert [item["path"] for item in manifest["image_files"] if oct((folder / item["path"]).stat().st_mode & 0o777)[2:] != item["mode"].lstrip("0")] == []
    policy = yaml.safe_load((ROOT / "blueprint" / manifest["policy"]).read_text(encoding="utf-8"))
    writable = tuple(policy["filesystem_policy"]["read_write"])
    assert [item["path"] for item in manifest["files"] if not item["path"].startswith(writable)] == []
    assert manifest["context_window_min"] <= manifest["context_window"]
    assert manifest["max_tokens"] < manifest["context_window_min"]


def test_answer_is_read_from_what_openclaw_printed(manifest: dict) -> None:
    good, bad = (json.loads((pathlib.Path(__file__).parent / "data" / f"openclaw-turn-{name}.json").read_text(encoding="utf-8")) for name in ("ok", "failed"))
    assert jmespath.search(manifest["verify_ok"], good) is True
    assert jmespath.search(manifest["verify_answer"], good) == "pong from tiny-agent"
    assert not jmespath.search(manifest["verify_ok"], bad)
    assert "temporarily overloaded" in jmespath.search(manifest["verify_error"], bad)


def test_env_file_refuses_nothing_it_cannot_quote() -> None:
    assert common.env_file({"B": 1, "A": "a b"}) == "A='a b'\nB=1\n"


# With the real OpenClaw, where its base image is in the engine.


def docker(*argv: str, stdin: str = "", timeout: int = 120) -> subprocess.CompletedProcess:
    return subprocess.run(["docker", *argv], input=stdin, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def base_image() -> str:
    try:
        found = docker("image", "ls", "--filter", "reference=nemoclaw-bed/openclaw-base", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    except FileNotFoundError:
        found = []
    if not found:
        pytest.skip("no nemoclaw-bed/openclaw-base image in a Docker engine here")
    return found[0]


def build(base: str, version: str, tag: str) -> subprocess.CompletedProcess:
    arguments = ["--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"VERSION_MIN={version}"]
    return subprocess.run(
        ["docker", "build", "--force-rm", "--network", "none", "--tag", tag, *arguments, str(AGENT)],
        capture_output=True, text=True, timeout=300, check=False, env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "DOCKER_BUILDKIT": "0"},
    )  # fmt: skip


def test_openclaw_itself_accepts_the_configuration(base_image: str, manifest: dict) -> None:
    configurations = [openclaw.config(settings, manifest) for settings in (LEAST, MOST, {**LEAST, "config": {"gateway": {"prot": 1}}})]
    validate = [word.format(path="/tmp/c.json") for word in manifest["validate_argv"]]
    script = f'umask 077; while IFS= read -r line; do printf "%s" "$line" > /tmp/c.json; {shlex.join(validate)} </dev/null | tr -d "\\n"; echo; done'
    run = docker(
        "run", "--rm", "--interactive", "--network", "none", base_image, "bash", "-c", script, stdin="".join(json.dumps(item) + "\n" for item in configurations)
    )
    results = [json.loads(line) for line in run.stdout.splitlines()]
    assert [result["valid"] for result in results] == [True, True, False]
    assert any("prot" in text for text in jmespath.search(manifest["validate_errors"], results[2]))


SILENT = "import socket; s = socket.create_server(('127.0.0.1', 9999)); kept = []\nwhile True: kept.append(s.accept())"


@pytest.mark.long
def test_openclaw_waits_for_a_model_as_long_as_said(base_image: str, manifest: dict) -> None:
    """A backend that takes requests and says nothing."""
    configuration = openclaw.config({**LEAST, "timeout": 3}, manifest)
    configuration["models"]["providers"]["inference"]["baseUrl"] = "http://127.0.0.1:9999/v1"
    del configuration["gateway"]["auth"], configuration["secrets"]  # the gateway's token is made by a sandbox's start
    ask = "openclaw agent --local --agent main --message hello --json"
    backend = f"python3 -c {shlex.quote(SILENT)}"
    script = f"cat > /tmp/c.json; export OPENCLAW_CONFIG_PATH=/tmp/c.json; {backend} & {ask} </dev/null 2>&1 | grep --max-count=1 'idle timeout'"
    run = docker("run", "--rm", "--interactive", "--network", "none", "--init", base_image, "bash", "-c", script, stdin=json.dumps(configuration))
    assert "idle timeout (3s)" in run.stdout, run.stdout + run.stderr


def test_image_refuses_a_base_that_is_too_old(base_image: str) -> None:
    run = build(base_image, "9999.1.1", f"nemoclaw-test/{uuid.uuid4().hex}")
    assert run.returncode != 0
    assert "is older than 9999.1.1, the oldest supported" in run.stdout + run.stderr


# the file that the kernel runs for a program: a link's target, of a script its interpreter
RESOLVED = """
for name in openclaw node python3 curl git; do
    file=$(readlink -f "$(command -v $name)")
    IFS= read -r first < "$file" 2>/dev/null
    case $first in "#!"*) set -- ${first#??}; [ "$1" != /usr/bin/env ] || shift; file=$(readlink -f "$(command -v $1)") ;; esac
    echo "$name $file"
done
"""


def test_presets_name_programs_by_the_files_they_are(base_image: str) -> None:
    programs = yaml.safe_load((ROOT / "blueprint/policies/programs.yaml").read_text(encoding="utf-8"))["openclaw"]
    known = {"openclaw": "agent", "python3": "python"}
    found = dict(line.split() for line in docker("run", "--rm", "--network", "none", base_image, "bash", "-c", RESOLVED).stdout.splitlines())
    assert set(found) == {"openclaw", "node", "python3", "curl", "git"}
    for name, file in found.items():
        paths = programs[known.get(name, name)]
        assert any(re.fullmatch(re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^/]*"), file) for path in paths), f"{name} is {file}"


FAKE_OPENCLAW = """#!/bin/bash
echo "run $*" >> /sandbox/runs
[ -e /sandbox/deaf ] && trap '' TERM
[ -e /sandbox/deaf ] || trap 'exit 0' TERM
while :; do sleep 0.1 9>&-; done
"""


@pytest.fixture(scope="module")
def sandbox(base_image: str, manifest: dict, tmp_path_factory: pytest.TempPathFactory):
    """A container of the agent's image with a stand-in for OpenClaw's gateway: a function that runs a command as a sandbox would."""
    tag = f"nemoclaw-test/agent:{uuid.uuid4().hex}"
    built = build(base_image, manifest["version_min"], tag)
    assert built.returncode == 0, built.stdout + built.stderr
    fake = tmp_path_factory.mktemp("fake") / "openclaw"
    fake.write_text(FAKE_OPENCLAW, encoding="utf-8")
    container = docker("create", "--init", "--network", "none", tag, "sleep", "infinity").stdout.strip()
    try:
        fake.chmod(0o755)
        docker("cp", str(fake), f"{container}:/usr/local/lib/openclaw-stand-in")
        docker("start", container)
        docker("exec", "--user", "root", container, "ln", "-sf", "/usr/local/lib/openclaw-stand-in", "/usr/local/bin/openclaw")

        def run(command: str, detached: bool = False) -> str:
            options = ["--detach"] if detached else []
            return docker("exec", *options, container, "bash", "-lc", command).stdout.strip()

        assert run("nemoclaw-start 2>&1 || echo $?").splitlines()[-2:] == ["nemoclaw-start: /sandbox/.openclaw/openclaw.json is not there yet", "75"]
        run("mkdir -p ~/.openclaw ~/.nemoclaw && touch ~/.openclaw/openclaw.json ~/.nemoclaw/env")
        yield run
    finally:
        docker("rm", "--force", container)
        docker("image", "rm", tag)


def pid_of_new_agent(sandbox, old: str = "") -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pid = sandbox("p=$(cat /tmp/nemoclaw-agent.pid) && kill -0 $p && tr '\\0' ' ' < /proc/$p/cmdline | grep -q 'gateway run' && echo $p")
        if pid and pid != old:
            return pid
        time.sleep(0.1)
    raise AssertionError(f"no agent other than {old!r} came up")


def test_newest_start_wins_and_the_token_stays(sandbox) -> None:
    sandbox("nemoclaw-start", detached=True)
    first = pid_of_new_agent(sandbox)
    token = sandbox("cat /sandbox/.nemoclaw/gateway-token")
    sandbox("nemoclaw-start", detached=True)
    pid_of_new_agent(sandbox, first)
    assert sandbox("pgrep -fc 'openclaw gateway ru[n]'") == "1"
    assert len(token) == 64
    assert sandbox("cat /sandbox/.nemoclaw/gateway-token") == token
    assert sandbox("stat -c %a /sandbox/.nemoclaw/gateway-token") == "600"


def test_stop_ends_it_and_is_content_when_nothing_runs(sandbox) -> None:
    sandbox("nemoclaw-start", detached=True)
    pid_of_new_agent(sandbox)
    assert sandbox("nemoclaw-stop >/dev/null && nemoclaw-stop && pgrep -fc 'openclaw gateway ru[n]'; echo $?") == "0\n1"


def test_stop_also_ends_a_start_that_still_waits(sandbox) -> None:
    sandbox("touch /sandbox/deaf; nemoclaw-start", detached=True)
    old = pid_of_new_agent(sandbox)
    sandbox("nemoclaw-start", detached=True)
    assert sandbox(f'for i in $(seq 50); do [ "$(cat /tmp/nemoclaw-agent.pid)" = {old} ] || break; sleep 0.1; done; cat /tmp/nemoclaw-agent.pid') != old
    sandbox(f"rm /sandbox/deaf; (sleep 1; kill -KILL {old}) & nemoclaw-stop 10")
    assert sandbox("sleep 1; pgrep -fc 'openclaw gateway ru[n]|nemoclaw-star[t]'") == "0"


def test_stop_kills_an_agent_that_does_not_listen(sandbox) -> None:
    sandbox("touch /sandbox/deaf; nemoclaw-start", detached=True)
    pid = pid_of_new_agent(sandbox)
    assert f"agent {pid} did not end within 1 s" in sandbox("sleep 0.5; nemoclaw-stop 1 2>&1; rm /sandbox/deaf")
    assert sandbox("pgrep -fc 'openclaw gateway ru[n]'") == "0"


def test_stale_pid_harms_nobody(sandbox) -> None:
    sandbox("exec sleep 4242", detached=True)
    assert sandbox("nemoclaw-stop >/dev/null; pgrep -f 'sleep 424[2]' > /tmp/nemoclaw-agent.pid; nemoclaw-stop; pgrep -fc 'sleep 424[2]'") == "1"


def test_every_command_sees_the_agents_environment(sandbox) -> None:
    assert sandbox("mkdir -p ~/.nemoclaw; echo \"GREETING='a b'\" > ~/.nemoclaw/env; bash -lc 'env | grep ^GREETING'") == "GREETING=a b"
