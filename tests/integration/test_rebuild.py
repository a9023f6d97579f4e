# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox that must be made anew: its files come along, and the old one runs until the new one is known to work."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.fleet import ANSWER, Fleet, answer, predicted, resources, unchanged

KEPT = "/home/nemoclaw/.nemoclaw/rebuild-backups"
CONTAINERS = "docker ps --all --quiet --no-trunc --filter label=openshell.ai/sandbox-name"
ALLOWED = {"nemoclaw_allow_rebuild": True}
FILL = """
rm -rf /sandbox/work
mkdir -p "/sandbox/work/two words" && cd /sandbox/work && chmod 750 . && echo mine > notes && chmod 600 notes && echo other > "two words/ä"
head -c 3000000 /dev/urandom > large && ln -s notes link && ln large twin && touch -d 2020-02-02T02:02:02Z old && : > empty
"""
# owners, modes, times (an engine rounds them to seconds), links and contents
SEEN = "cd /sandbox/work && find . ! -name . -printf '%p %m %U:%G %TF %TH:%TM %l\\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum"
# once the old container is gone, what makes the new one, which is the parent of the next call of openshell about it, is killed
KILLER = f"""
old=$({CONTAINERS}=assistant)
while [ "$({CONTAINERS}=assistant)" = "$old" ]; do sleep 0.02; done
while :; do
    for process in /proc/[0-9]*; do
        case $(tr '\\0' ' ' < $process/cmdline 2>/dev/null) in
            */openshell\\ -g\\ nemoclaw\\ sandbox\\ [cdg][re]*) kill -KILL $(awk '/^PPid/ {{print $2}}' $process/status) && exit ;;
        esac
    done
done
"""


def container(fleet: Fleet, name: str = "assistant") -> str:
    return fleet["h1"].sh(f"{CONTAINERS}={name}")


@pytest.fixture(scope="module")
def filled(onboarded) -> tuple[Fleet, str]:
    """A host whose sandbox has files, and what they look like."""
    onboarded.inside("h1", FILL)
    yield onboarded, onboarded.inside("h1", SEEN)
    onboarded.of_host["h1"] = {}


def nothing_lies_about(fleet: Fleet) -> bool:
    return fleet["h1"].sh(f"ls {KEPT} 2>/dev/null || true") == "" and container(fleet, "assistant-new") == ""


def test_its_files_come_along(filled):
    fleet, seen = filled
    before = container(fleet)
    fleet.change("h1", "nemoclaw_sandboxes", memory="3Gi")
    run = fleet.play("onboard.yml", variables=ALLOWED)
    assert run.rc == 0
    assert "sandbox/assistant" in resources(predicted(run, "h1"))
    assert answer(run, "h1") == ANSWER
    assert container(fleet) not in ("", before)
    assert fleet["h1"].sh(f"docker inspect --format '{{{{.HostConfig.Memory}}}}' {container(fleet)}") == str(3 * 2**30)
    assert fleet.inside("h1", SEEN) == seen
    assert nothing_lies_about(fleet)
    assert unchanged(fleet.play("onboard.yml"), "h1")


def test_one_that_cannot_be_made_changes_nothing(filled):
    fleet, seen = filled
    before = container(fleet)
    fleet.change("h1", "nemoclaw_sandboxes", mounts=[{"type": "bind", "source": "/srv/not-there", "target": "/sandbox/data"}])
    run = fleet.play("onboard.yml", variables=ALLOWED)
    assert run.rc != 0
    assert "The sandbox assistant is as it was" in run.output
    assert "/srv/not-there" in run.output
    assert container(fleet) == before
    assert fleet.inside("h1", SEEN) == seen
    assert nothing_lies_about(fleet)
    fleet.await_agent("h1")
    fleet.change("h1", "nemoclaw_sandboxes", mounts=[])
    assert unchanged(fleet.play("onboard.yml"), "h1")


def test_an_interrupted_one_is_finished(filled):
    fleet, seen = filled
    before = container(fleet)
    fleet.change("h1", "nemoclaw_sandboxes", memory="2Gi")
    watch = subprocess.Popen(["docker", "exec", fleet["h1"].container, "timeout", "120", "bash", "-c", KILLER])
    run = fleet.play("onboard.yml", variables=ALLOWED)
    assert watch.wait() == 0
    assert run.recap["h1"]["failed"] == 1
    assert fleet["h1"].sh(f"stat -c %a {KEPT}/nemoclaw-assistant.tar") == "600"
    again = fleet.play("onboard.yml", variables=ALLOWED)
    assert again.rc == 0
    assert container(fleet) not in ("", before)
    assert fleet.inside("h1", SEEN) == seen
    assert nothing_lies_about(fleet)
    assert answer(again, "h1") == ANSWER
