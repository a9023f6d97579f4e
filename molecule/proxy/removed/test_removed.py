# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is left of a proxy."""


def test_no_file_no_user_and_no_nginx(host):
    units = ("/etc/systemd/system/nemoclaw-proxy.service", "/etc/systemd/system/nginx.service")
    for path in ("/etc/nemoclaw", "/etc/nemoclaw-proxy-packages", "/run/nemoclaw-proxy", *units, "/etc/nginx"):
        assert not host.file(path).exists, path
    assert not host.user("nemoclaw-proxy").exists
    assert not host.package("nginx").is_installed
    assert not host.socket("tcp://0.0.0.0:11435").is_listening
