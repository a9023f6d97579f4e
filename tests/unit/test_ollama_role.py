# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama out of an archive, by the role, on the machine that runs the tests: as far as its service, whose port this test holds."""

from __future__ import annotations

import io
import os
import socket
import tarfile

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import sha256
from tests.unit.test_host_probe_role import run

SCRIPT = b"#!/bin/sh\necho ollama version is 0.13.5\n"


@pytest.fixture
def apply(tmp_path, monkeypatch):
    """Run the role; returns whether it brought the archive to the host, and its output."""
    archive, brought = tmp_path / "ollama.tgz", tmp_path / "brought.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        member = tarfile.TarInfo("bin/ollama")
        member.size, member.mode = len(SCRIPT), 0o755
        packed.addfile(member, io.BytesIO(SCRIPT))
    (tmp_path / "path").mkdir()
    (tmp_path / "path/systemctl").write_text("#!/bin/sh\necho LoadState=loaded\n")
    (tmp_path / "path/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/path:{os.environ['PATH']}")
    prefix = str(tmp_path / "local")
    program = {"source": "archive", "prefix": prefix, "path": f"{prefix}/bin/ollama", "archive": archive.name, "sha256": sha256(str(archive)), "minimum": "0"}
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        service = {"name": "nemoclaw-test.service", "port": port, "environment": {}, "timeout": 1, "user": "nobody", "home": "/nonexistent"}
        service.update(dict.fromkeys(("unit", "library", "models_dir"), ""))
        known = {
            "local_inference_resources": [{"resource": "ollama_program", **program}, {"resource": "ollama", **service}],
            "local_inference_ollama": {"archive": str(archive)},
            "local_inference_archive": str(brought),
        }
        role = {"name": "nemoclaw.fleet.local_inference", "tasks_from": "ollama"}

        def applied():
            _code, output = run(tmp_path, [{"name": "Ollama", "ansible.builtin.include_role": role, "vars": known}])
            assert f"The port {port} is held by" in " ".join(output.split()), output
            assert not brought.exists(), "whatever became of the service"
            return "skipping" not in output.partition(": Archive]")[2].partition("TASK")[0]

        yield applied


def test_a_program_is_repaired_whatever_its_record_says(tmp_path, apply):
    program, record = tmp_path / "local/bin/ollama", tmp_path / "local/lib/ollama/nemoclaw.json"
    record.parent.mkdir(parents=True)
    record.write_text(f'{{"archive": "{sha256(str(tmp_path / "ollama.tgz"))}", "program": "0a"}}')
    assert apply()
    assert program.read_bytes() == SCRIPT
    record.write_text("")  # after a power failure
    program.write_text("changed")
    assert apply()
    assert program.read_bytes() == SCRIPT
    assert not apply(), "large, and of no use to a host that has its program"
