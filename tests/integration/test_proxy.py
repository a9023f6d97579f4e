# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model server of the loopback behind the proxy with a token: for an agent, for other machines, while the token is rotated, after a reboot."""

from __future__ import annotations

import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.fleet import ANSWER, Fleet, answer, differences, predicted, resources, unchanged

TOKEN = "/etc/nemoclaw/proxy/token"
LOOPBACK = "s/--host 0.0.0.0/--host 127.0.0.1/; s/--api-key-file [^ ]*//"
# asks until it is told to end, and says what it got; new connections of the sandbox's own, whose supervisor keeps those to the proxy
LOAD = """
rm -f /tmp/enough
while [ ! -e /tmp/enough ]; do
  curl -s -m 20 -o /dev/null -w '%{http_code}\\n' https://inference.local/v1/chat/completions -H 'content-type: application/json' \
    -d '{"model": "any", "max_tokens": 2, "messages": [{"role": "user", "content": "ping"}]}'
done | sort | uniq -c
"""


@pytest.fixture(scope="module")
def host(fresh) -> Fleet:
    """h1 with a server that takes no key, which is what a running vLLM is."""
    fresh["h1"].sh(f"sed -i '{LOOPBACK}' /etc/systemd/system/llama-server.service && systemctl daemon-reload && systemctl restart llama-server && bed-ready")
    fresh.touched.add("h1")
    fresh.before["h1"] = fresh.snapshot("h1")
    fresh.of_host["h1"] = {"nemoclaw_inference": {"provider": "vllm", "endpoint_url": "http://127.0.0.1:8102/v1"}, "nemoclaw_credentials": {}}
    yield fresh
    fresh.of_host["h1"] = {}


def token(host: Fleet) -> str:
    return host["h1"].read_file(TOKEN).strip()


def status(host: Fleet, path: str, bearer: str = "", port: int = 11435) -> int:
    """What another machine, this one, is answered."""
    request = urllib.request.Request(f"http://{host['h1'].address}:{port}{path}", headers={"Authorization": f"Bearer {bearer}"} if bearer else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as said:
            return said.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_an_agent_answers_through_it(host):
    run = host.play("onboard.yml")
    assert run.rc == 0
    assert answer(run, "h1") == ANSWER
    assert host.chat("h1")
    assert token(host) not in run.output
    assert host["h1"].sh(f"stat -c '%U %a' {TOKEN}") == "root 600"


def test_another_machine_needs_the_token(host):
    assert [status(host, path) for path in ("/v1/models", "/", "/api/generate")] == [401] * 3
    assert status(host, "/v1/models", token(host)) == 200
    with pytest.raises(urllib.error.URLError):
        status(host, "/v1/models", token(host), port=8102)


def test_the_second_run_changes_nothing(host):
    assert unchanged(host.play("onboard.yml"), "h1")


def test_the_token_is_where_it_belongs_alone(host):
    found = host["h1"].sh(f"grep -rlsF {token(host)} /etc /home /root /run /tmp /usr/local /var --exclude-dir=overlay2 || true").splitlines()
    stored = [path for path in found if path.startswith("/home/nemoclaw/.nemoclaw/gateway/")]  # the gateway's own store
    assert set(found) - set(stored) == {TOKEN}
    everything = "systemctl show '*'; journalctl --no-pager; docker ps -aq | xargs -r docker inspect; cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    assert token(host) not in host["h1"].sh(f"({everything}) 2>/dev/null")
    assert token(host) not in host.inside("h1", "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; grep -rs . /sandbox/.openclaw || true")


def test_rotated_under_load(host):
    before = token(host)
    with ThreadPoolExecutor(4) as pool:
        argv = ("sandbox", "exec", "--name", "assistant", "--no-tty", "--timeout", "300", "--", "bash", "-c", LOAD)
        askers = [pool.submit(host.openshell, "h1", *argv) for _asker in range(4)]
        rotated = host.play("rotate.yml")
        host.inside("h1", "touch /tmp/enough")
        counts = [asker.result().split() for asker in askers]
    assert rotated.rc == 0
    assert answer(rotated, "h1") == ANSWER
    assert [words[1:] for words in counts] == [["200"]] * 4, counts
    after = token(host)
    assert (status(host, "/v1/models", before), status(host, "/v1/models", after)) == (401, 200)
    assert not [secret for secret in (before, after) if secret in rotated.output]
    assert unchanged(host.play("onboard.yml"), "h1")


def test_a_rotation_that_was_interrupted_is_finished(host):
    """Killed once the next token was made; by the next rotation, and by onboard.yml."""
    for playbook in ("rotate.yml", "onboard.yml"):
        before = token(host)
        host["h1"].sh(f"(umask 077; openssl rand -hex 24 > {TOKEN}.next)")
        assert f"secret/{TOKEN}.next" in resources(predicted(host.play("status.yml"), "h1"))
        finished = host.play(playbook)
        assert finished.rc == 0
        assert answer(finished, "h1") == ANSWER
        assert (status(host, "/v1/models", before), status(host, "/v1/models", token(host))) == (401, 200)
    assert unchanged(host.play("onboard.yml"), "h1")


@pytest.mark.long
def test_it_listens_where_it_is_told(host):
    """For other machines on one address or none; host and sandbox reach it whatever is said."""
    h1 = host["h1"]
    for address, outside in (("127.0.0.1", False), (h1.address, True), ("0.0.0.0", True)):
        host.of_host["h1"]["nemoclaw_proxy"] = {"address": address}
        moved = host.play("onboard.yml")
        assert moved.rc == 0
        assert answer(moved, "h1") == ANSWER
        assert h1.sh("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:11435/v1/models") == "401"
        if outside:
            assert status(host, "/v1/models", token(host)) == 200
        else:
            with pytest.raises(urllib.error.URLError, match="refused"):
                status(host, "/v1/models", token(host))
    before = h1.sh("cat /etc/nemoclaw/proxy/conf/nginx.conf")
    host.of_host["h1"]["nemoclaw_proxy"] = {"address": "192.0.2.7"}
    refused = host.play("onboard.yml")
    assert refused.rc != 0
    assert "nemoclaw_proxy.address: 192.0.2.7 is no address of this host" in refused.output
    assert h1.address in refused.output
    assert h1.sh("cat /etc/nemoclaw/proxy/conf/nginx.conf") == before
    del host.of_host["h1"]["nemoclaw_proxy"]
    assert unchanged(host.play("onboard.yml"), "h1")


def test_there_again_after_a_reboot(host):
    before = token(host)
    host["h1"].reboot()
    host.await_agent("h1")
    assert token(host) == before
    assert unchanged(host.play("onboard.yml"), "h1")


def test_what_drifted_is_mended(host):
    """A token that is lost, a file that somebody changed, a unit that is stopped."""
    host["h1"].sh(f"rm {TOKEN}; echo '# mine' >> /etc/nemoclaw/proxy/conf/nginx.conf; systemctl disable --now --quiet nemoclaw-proxy")
    mended = host.play("onboard.yml")
    assert mended.rc == 0
    assert answer(mended, "h1") == ANSWER


def test_offboarding_leaves_nothing(host):
    assert host.play("offboard.yml").rc == 0
    left = differences(host.before["h1"], host.snapshot("h1"))
    assert not [line for line in left if "nginx" in line or "proxy" in line or "/etc/nemoclaw" in line], left
