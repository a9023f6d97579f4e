# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine is left with what its user had configured."""

import json


def test_only_the_users_settings_are_left(host):
    found = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert found == {"labels": ["site=test"], "registry-mirrors": ["https://theirs.example.org"], "max-concurrent-downloads": 2}


def test_the_engine_runs(host):
    assert host.service("docker").is_running
    assert not host.file("/var/lib/nemoclaw/engine.json").exists
