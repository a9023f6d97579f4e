# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role made is gone; the user's own Ollama is as it was."""


def test_no_settings_of_ours(host):
    assert not host.file("/etc/systemd/system/ollama.service.d").exists
    assert not host.file("/usr/local/lib/ollama").exists


def test_the_users_own_stays(host):
    if host.file("/root/.ollama").exists:
        assert host.service("ollama").is_running
        assert "0.0.0.0" in host.check_output("systemctl show --value -p Environment ollama")
    else:
        assert not host.file("/etc/systemd/system/ollama.service").exists
        assert not host.file("/usr/local/bin/ollama").exists
        assert not host.file("/var/lib/ollama").exists
        assert not host.user("ollama").exists
