# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy as its host and other machines see it."""

import re

TOKEN = "/etc/nemoclaw/proxy/token"


def ask(host, url, *options):
    return host.check_output(f"curl -sk -o /dev/null -m 20 -w '%{{http_code}}' {' '.join(options)} {url}")


def bearer(host):
    return f"-H 'Authorization: Bearer {host.file(TOKEN).content_string.strip()}'"


def test_the_token_is_as_it_should_be(host):
    file = host.file(TOKEN)
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)
    assert re.fullmatch("[0-9a-f]{48}\n", file.content_string)


def test_whoever_has_it_is_let_in(host):
    assert ask(host, "http://127.0.0.1:11435/v1/models") == "401"
    assert ask(host, "http://127.0.0.1:11435/v1/models", bearer(host)) == "200"
    body = '-H \'Content-Type: application/json\' -d \'{"model": "tiny-agent", "messages": [{"role": "user", "content": "hello"}]}\''
    assert '"content"' in host.check_output(f"curl -s {bearer(host)} {body} http://127.0.0.1:11435/v1/chat/completions")
    assert ask(host, "http://127.0.0.1:11436/", bearer(host)) == "502"


def test_other_machines_need_tls_and_the_token(host):
    address = host.check_output("hostname -I").split()[0]
    assert ask(host, f"http://{address}:11435/v1/models", bearer(host)) == "400"
    assert ask(host, f"https://{address}:11435/v1/models") == "401"
    assert ask(host, f"https://{address}:11435/v1/models", bearer(host)) == "200"


def test_service(host):
    service = host.service("nemoclaw-proxy")
    assert service.is_running
    assert service.is_enabled
    host.check_output("systemd-analyze security --no-pager --threshold=20 nemoclaw-proxy")  # of 100
    assert set(host.check_output("ps -o user:20= -C nginx").split()) == {"nemoclaw-proxy"}


def test_the_distributions_service_is_not_there(host):
    assert not host.service("nginx").is_running
    assert not host.socket("tcp://0.0.0.0:80").is_listening


def test_the_token_is_nowhere_else(host):
    """Neither for nginx to read, nor in what systemd and the journal show."""
    token = host.file(TOKEN).content_string.strip()
    assert host.run(f"grep -rlF {token} /etc /run /var/lib /var/log /home --exclude-dir=docker").stdout.split() == [TOKEN]
    assert token not in host.check_output(
        "journalctl --no-pager; systemctl show nemoclaw-proxy; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '; true"
    )
    assert host.run(f"runuser -u nemoclaw-proxy -- cat {TOKEN}").rc != 0


def test_a_killed_one_is_back(host):
    before = host.check_output("systemctl show --value -p MainPID nemoclaw-proxy")
    host.check_output("kill -9 $(systemctl show --value -p MainPID nemoclaw-proxy) && sleep 3")
    assert host.check_output("systemctl show --value -p MainPID nemoclaw-proxy") not in (before, "0")
    assert ask(host, "http://127.0.0.1:11435/v1/models", bearer(host)) == "200"
