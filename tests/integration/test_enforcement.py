# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a policy does not open stays shut, seen from inside a sandbox, and status.yml finds what was tried.

One rule opens one path of one port of the host to one program. Each attempt differs from the request that passes in one thing.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import pytest

PORT = 8203
URL = f"http://host.openshell.internal:{PORT}"
RULE = {
    "name": "files",
    "endpoints": [
        {
            "host": "host.openshell.internal",
            "port": PORT,
            "allowed_ips": ["172.30.200.0/24"],
            "protocol": "rest",
            "enforcement": "enforce",
            "rules": [{"allow": {"method": "GET", "path": "/open/**"}}],
        }
    ],
    "binaries": ["curl"],
}
SERVER = f"""
mkdir -p /run/lock/files/open /run/lock/files/shut && echo open > /run/lock/files/open/file && echo shut > /run/lock/files/shut/file
systemd-run --quiet --collect --unit=bed-files --working-directory=/run/lock/files python3 -m http.server {PORT}
sleep 1
"""
CURL = "curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}'"
COPY = "cp /usr/bin/curl /tmp/copy; /tmp/copy" + CURL.removeprefix("curl")
NOT_ALLOWED = "is not allowed by any policy"


class Denial(NamedTuple):
    """An entry of status.yml."""

    request: str
    program: str = "/usr/bin/curl"
    policy: str = ""
    reason: str = NOT_ALLOWED  # a part of it


# (script, what it prints, what the log has of it); no script prints what it would if it passed
ATTEMPTS = {
    "path": (f"{CURL} {URL}/shut/file", "403", Denial(f"GET {URL}/shut/file", policy="files", reason="GET /shut/file not permitted by policy")),
    "path in disguise": (
        *(f"{CURL} --path-as-is {URL}/open/%2e%2e/shut/file", "403"),
        Denial(f"GET {URL}/shut/file", policy="files", reason="GET /shut/file not permitted by policy"),
    ),
    "method": (
        *(f"{CURL} --request DELETE {URL}/open/file", "403"),
        Denial(f"DELETE {URL}/open/file", policy="files", reason="DELETE /open/file not permitted by policy"),
    ),
    "method in a tunnel": (
        *(f"{CURL} --proxytunnel --request PUT {URL}/open/file", "403"),
        Denial(f"PUT {URL}/open/file", program="", policy="files", reason="PUT /open/file not permitted by policy"),
    ),
    "port": (f"{CURL} http://host.openshell.internal:8102/v1/models", "403", Denial("GET http://host.openshell.internal:8102/v1/models")),
    "host": (f"{CURL} http://example.com/page", "403", Denial("GET http://example.com/page")),
    "host by TLS": (f"{CURL} https://example.com/page || true", "000", Denial("CONNECT example.com:443")),
    "metadata": (f"{CURL} http://169.254.169.254/latest/meta-data/", "403", Denial("GET http://169.254.169.254/latest/meta-data/")),
    "binary": (f"{COPY} {URL}/open/file", "403", Denial(f"GET {URL}/open/file", "/tmp/copy", reason="binary '/tmp/copy' not allowed in policy 'files'")),
    "past the proxy": (f"{CURL} --noproxy '*' {URL}/open/file || true", "000", None),
    "metadata past the proxy": (f"{CURL} --noproxy '*' http://169.254.169.254/ || true", "000", None),
    "write outside": ("touch /var/tmp/file 2>/dev/null && echo written || echo denied", "denied", None),
    "read outside": ("ls /opt >/dev/null 2>&1 && echo read || echo denied", "denied", None),
    "setuid": ("id-as-root --user", "1000", None),
    "sudo by system call": ("python3 -c 'import os; os.setuid(0)' 2>/dev/null && echo root || echo denied", "denied", None),
}
# what only the policy is in the way of: without a supervisor the same user may
CONTROLS = {"write outside": "written", "read outside": "read", "setuid": "0"}


@pytest.fixture(scope="module")
def enforcing(onboarded):
    onboarded["h1"].sh(SERVER)
    onboarded.change("h1", "nemoclaw_sandboxes", policy={"tier": "restricted", "custom": [RULE]})
    assert onboarded.play("onboard.yml").rc == 0
    yield onboarded
    onboarded["h1"].sh("systemctl stop bed-files; rm -r /run/lock/files")
    onboarded.of_host["h1"] = {}


@pytest.fixture(scope="module")
def printed(enforcing) -> dict[str, str]:
    """What each attempt printed."""
    return {name: enforcing.inside("h1", script) for name, (script, _printed, _denial) in ATTEMPTS.items()}


@pytest.fixture(scope="module")
def denials(enforcing, printed) -> list[dict]:
    """What status.yml found afterwards."""
    time.sleep(8)  # a supervisor sends its lines every few seconds
    run = enforcing.play("status.yml", variables={"nemoclaw_status_denials": "10m"})
    assert (run.rc, run.changed) == (0, 0)
    assert run.executions["h1"].count("nemoclaw.fleet.openshell_denials") == 1
    return run.of_host("h1", "nemoclaw.fleet.openshell_denials")[0]["sandboxes"]["assistant"]


def test_what_the_rule_opens_passes(enforcing):
    assert enforcing.inside("h1", f"{CURL} {URL}/open/file") == "200"
    assert enforcing.inside("h1", f"curl --silent --proxytunnel {URL}/open/file") == "open"
    assert enforcing.chat("h1")


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_it_does_not_open_is_denied(printed, attempt):
    assert printed[attempt] == ATTEMPTS[attempt][1]


@pytest.mark.parametrize("attempt", CONTROLS)
def test_without_the_policy_it_passes(enforcing, attempt):
    container = enforcing["h1"].sh("docker ps --quiet --filter label=openshell.ai/sandbox-name=assistant")
    done = enforcing["h1"].exec("docker", "exec", "--user", "1000", container, "sh", "-c", ATTEMPTS[attempt][0])
    assert done.stdout.strip() == CONTROLS[attempt]


@pytest.mark.parametrize("attempt", [name for name, (_script, _printed, denial) in ATTEMPTS.items() if denial])
def test_status_finds_it(denials, attempt):
    denial = ATTEMPTS[attempt][2]
    found = [entry for entry in denials if denial[:3] == (entry["request"], entry["program"], entry["policy"])]
    assert [entry["request"] for entry in found if denial.reason in entry["reason"]], denials


def test_status_asks_only_when_told(enforcing):
    run = enforcing.play("status.yml")
    assert run.rc == 0
    assert "nemoclaw.fleet.openshell_denials" not in run.executions["h1"]
