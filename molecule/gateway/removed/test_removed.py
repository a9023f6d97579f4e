# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is left of a gateway."""

import pytest


@pytest.mark.parametrize(
    "path", ["/home/nemoclaw", "/home/ops/.config", "/etc/nemoclaw-nemoclaw.json", "/etc/systemd/system/nemoclaw-gateway.service", "/usr/local/bin/openshell"]
)
def test_no_file(host, path):
    assert not host.file(path).exists


def test_no_user_and_no_network(host):
    assert not host.user("nemoclaw").exists
    assert host.check_output("docker network ls --quiet --filter name=nemoclaw") == ""
