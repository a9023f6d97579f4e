# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test bed's own judgement: what it reads from ansible-playbook, and when it makes a thing anew."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os

import pytest

from tests.bed import hosts, images
from tests.bed.play import parse_recap, play

OUTPUT = """
ok: [h1] => {"msg": "PLAY RECAP is a word too"}
PLAY RECAP *********************************************************************
\x1b[0;33mh1\x1b[0m                         : \x1b[0;32mok=43  \x1b[0m \x1b[0;33mchanged=16  \x1b[0m unreachable=0    failed=0 skipped=8 rescued=0 ignored=0
h2.example.org             : ok=1    changed=0    unreachable=1    failed=0    skipped=0    rescued=0    ignored=0

SUMMARY: ok=1
"""


def test_recap_is_read_through_colours():
    recap = parse_recap(OUTPUT)
    assert list(recap) == ["h1", "h2.example.org"]
    assert recap["h1"]["changed"] == 16
    assert recap["h2.example.org"]["unreachable"] == 1


def test_a_run_without_a_recap_has_none():
    assert parse_recap("ERROR! the playbook could not be found") == {}


def test_a_run_that_hangs_without_a_word_is_ended(tmp_path, monkeypatch):
    program = tmp_path / "ansible-playbook"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert play(program, "none", timeout=0.3).seconds < 30


def test_processes_that_all_want_the_key_have_one_and_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "SSH_KEY", tmp_path / "ssh" / "key")
    processes = [multiprocessing.get_context("fork").Process(target=hosts.make_ssh_key) for _process in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "ssh" / "key.pub").exists()


@pytest.mark.parametrize("change", [{"suite": "sid"}, {"packages": ("bash",)}, {"config": ()}, {"environment": {"NODE_VERSION": "1"}}, {"hooks": ("host.sh",)}])
def test_an_image_is_another_when_its_recipe_is(change):
    assert dataclasses.replace(images.OPENCLAW, **change).digest != images.OPENCLAW.digest


def test_hosts_of_two_beds_never_share_an_address_or_a_name():
    fleets = [hosts.Bed(name, 3).hosts for name in ("demo", "test", "molecule-gateway", "molecule-preflight", "molecule-engine", "mine")]
    flat = [host for fleet in fleets for host in fleet]
    assert len({host.address for host in flat}) == len({host.container for host in flat}) == 18


def test_only_capabilities_of_this_machine_are_asked_for(monkeypatch):
    monkeypatch.setattr(hosts.Path, "read_text", lambda self: "Name:\tx\nCapBnd:\t0000000000000401\n")  # CHOWN, NET_BIND_SERVICE
    assert hosts.capability_options() == ["--cap-drop=ALL", "--cap-add=CHOWN", "--cap-add=NET_BIND_SERVICE"]
