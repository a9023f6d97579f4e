# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module says of long work, and who shows it when. That it is shown while a real module works is in tests/integration/test_ollama.py."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import progress
from ansible_collections.nemoclaw.fleet.plugins.plugin_utils import _progress as shown

NAME = "0123456789abcdef" * 2
# says two lines, and shows the file as it is after each
SPEAKER = """
import glob, os, sys
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import progress
progress.FILES = sys.argv[1]
one = progress.Progress("model a:1")
for text in ("10 %", "20 %"):
    one.say(text, at_once=True)
    print([(os.path.relpath(path, sys.argv[1]), oct(os.stat(path).st_mode), open(path).read()) for path in glob.glob(sys.argv[1] + "/**", recursive=True)
           if os.path.isfile(path)])
"""


def spoken(folder, name: str) -> list[str]:
    environment = {**os.environ, progress.ASKED: name}
    done = subprocess.run([sys.executable, "-c", SPEAKER, folder], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_file_has_the_last_line_while_the_process_lives(tmp_path):
    folder = tmp_path / "progress"
    assert spoken(folder, NAME) == [f"[('{NAME}', '0o100644', 'model a:1: {text}\\n')]" for text in ("10 %", "20 %")]
    assert not folder.exists()


@pytest.mark.parametrize("name", ["", "../../etc/motd", NAME.upper(), f"{NAME}0"])
def test_nothing_is_written_for_who_did_not_ask(tmp_path, name):
    assert spoken(tmp_path, name) == ["[]", "[]"]


def test_a_host_that_cannot_write_works_on(tmp_path):
    (tmp_path / "file").write_text("")
    assert spoken(tmp_path / "file", NAME) == ["[]", "[]"]


def test_the_rate_is_that_of_this_download(monkeypatch):
    """What an earlier one has fetched was not fetched in no time."""
    now = itertools.count(0, 2)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    one, said = progress.Progress("model"), []
    monkeypatch.setattr(one, "say", said.append)
    one.fetched(5_000_000_000, 9_100_000_000)
    one.fetched(5_100_000_000, 9_100_000_000)
    one.fetched(9_100_000_000, 9_100_000_000)
    assert said == ["5.0 GB of 9.1 GB (54 %), 0 B/s", "5.1 GB of 9.1 GB (56 %), 50 MB/s", "9.1 GB of 9.1 GB (100 %)"]


def test_what_tells_nothing_itself_is_told_of_while_it_lasts(monkeypatch):
    monkeypatch.setattr(progress, "OFTEN", 0.01)
    one, said, twice = progress.Progress("sandbox a"), [], threading.Event()

    def say(text):
        said.append(text)
        if len(said) == 2:
            twice.set()

    monkeypatch.setattr(one, "say", say)
    with one.waiting("is made", 300):
        assert twice.wait(10)
    told = len(said)
    threading.Event().wait(0.05)
    assert len(said) == told
    assert set(said) <= {f"is made, {second} s of at most 300 s" for second in range(10)}
    with pytest.raises(OSError, match="gone"), one.waiting("is made", 300):
        raise OSError("gone")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model a: 10 %", "[h1] model a: 10 %"),
        ("vllm: \x1b[32mINFO\x1b[0m\tready\r\n\x1b]0;title\x07fatal: [h2]: FAILED!", "[h1] vllm: INFO ready ]0;title fatal: [h2]: FAILED!"),
        ("x" * 300, "[h1] " + "x" * 199 + "…"),
    ],
)
def test_a_line(text, line):
    assert shown.line("h1", text) == line


def test_the_longer_it_takes_the_quieter():
    pauses = list(itertools.islice(shown.pauses(10), 200))
    assert pauses[:3] == [5, 10, 12]
    assert pauses[-1] == 60
    assert next(shown.pauses(2)) == 2


@pytest.mark.parametrize(("value", "seconds"), [(None, 10), (0, 0), ("2.5", 2.5), (-1, 0), ("often", 10), ([], 10)])
def test_interval(value, seconds):
    assert shown.interval(value) == seconds


class Host:
    """What a watch reads: texts one after the other, or their errors."""

    def __init__(self, *said):
        self.said, self.asked, self.lines = list(said), 0, []
        self.exhausted = threading.Event()

    def connect(self):
        return self.read

    def read(self):
        self.asked += 1
        if len(self.said) == 1:
            self.exhausted.set()
        said = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        if isinstance(said, Exception):
            raise said
        return said

    def watch(self):
        return shown.Watch(self.connect, self.lines.append, 0.01)


def test_what_changed_is_shown_once():
    host = Host("", "a", "a", OSError(), "b", "b")
    with host.watch():
        assert host.exhausted.wait(10)
    assert host.lines == ["a", "b"]


def test_who_cannot_connect_gives_up():
    host = Host(OSError())
    watch = host.watch()
    with watch:
        watch._thread.join(10)
    assert (host.asked, host.lines) == (shown.FAILURES, [])


def test_short_work_connects_to_nothing():
    host = Host("a")
    with shown.Watch(host.connect, host.lines.append, 10):
        pass
    assert host.asked == 0


def test_nothing_is_shown_after_the_end(monkeypatch):
    """Also not what was read when the end came, by a connection that hangs."""
    monkeypatch.setattr(shown, "PATIENCE", 0.05)
    reading, answer, lines = threading.Event(), threading.Event(), []

    def read():
        reading.set()
        answer.wait(10)
        return "late"

    watch = shown.Watch(lambda: read, lines.append, 0.01)
    with watch:
        assert reading.wait(10)
    answer.set()
    watch._thread.join(10)
    assert not watch._thread.is_alive()
    assert lines == []
