# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""daemon.json: what is wanted beside what is there, and out again without a trace; what the running engine takes."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading

import pytest

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import daemon, settings
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

THEIRS = {"labels": ["site=a"], "features": {"buildkit": True}, "registry-mirrors": ["https://theirs"], "debug": True, "log-driver": "journald"}
OURS = {"registry-mirrors": ["https://ours", "https://theirs"], "features": {"cdi": True}, "debug": False, "dns": ["192.0.2.1"], "labels": ["site=a"]}
LOGS = {"log-driver": "json-file", "log-opts": {"max-size": "10m"}}


def test_what_is_there_stays():
    merged, _record = settings.settle(THEIRS, OURS, {}, [])
    assert merged == {
        "labels": ["site=a"],
        "features": {"buildkit": True, "cdi": True},
        "registry-mirrors": ["https://theirs", "https://ours"],
        "debug": False,
        "log-driver": "journald",
        "dns": ["192.0.2.1"],
    }


@pytest.mark.parametrize("theirs", [{}, THEIRS, {"features": {}}, {"dns": ["192.0.2.1", "192.0.2.2"]}])
def test_out_again_without_a_trace(theirs):
    merged, record = settings.settle(theirs, OURS, LOGS, [])
    json.dumps(record)
    again, same = settings.settle(merged, OURS, LOGS, record)
    assert (again, same) == (merged, record)
    # a mapping that was there and empty is the one thing that is not told from one of ours
    assert settings.without(merged, record) == {key: value for key, value in theirs.items() if value != {}}


def test_what_nobody_wants_any_more_goes():
    merged, record = settings.settle(THEIRS, OURS, {}, [])
    fewer, record = settings.settle(merged, {"dns": ["192.0.2.9"]}, {}, record)
    assert fewer == {**THEIRS, "dns": ["192.0.2.9"]}
    assert settings.without(fewer, record) == THEIRS


def test_what_somebody_has_changed_since_is_theirs():
    merged, record = settings.settle({}, OURS, {}, [])
    merged = {**merged, "dns": ["192.0.2.1", "192.0.2.7"], "debug": True}
    assert settings.without(merged, record) == {"dns": ["192.0.2.7"], "debug": True}
    settled, _record = settings.settle(merged, OURS, {}, record)
    assert settled["debug"] is False  # the plan's counts
    assert settled["dns"] == ["192.0.2.1", "192.0.2.7"]


def test_the_order_of_a_list_is_no_difference():
    _merged, record = settings.settle({"dns": ["a"]}, {"dns": ["b"]}, {}, [])
    assert settings.settle({"dns": ["b", "a"]}, {"dns": ["b"]}, {}, record)[0] == {"dns": ["b", "a"]}


def test_defaults_count_together_or_not_at_all():
    assert settings.settle({}, {"dns": ["a"]}, LOGS, [])[0] == {**LOGS, "dns": ["a"]}
    assert settings.settle({"log-driver": "journald"}, {}, LOGS, [])[0] == {"log-driver": "journald"}
    merged, record = settings.settle({}, {}, LOGS, [])
    # they stay ours in the next run, and give way to the user's own
    assert settings.settle(merged, {}, LOGS, record)[0] == LOGS
    assert settings.settle({**merged, "log-driver": "journald"}, {}, LOGS, record)[0] == {"log-driver": "journald"}


@pytest.mark.parametrize(
    ("after", "restart"),
    [({"registry-mirrors": ["a"], "debug": True}, False), ({"debug": True, "dns": ["a"]}, True), ({"features": {"cdi": True}}, True), ({}, False)],
)
def test_what_takes_a_restart(after, restart):
    assert settings.takes_restart(settings.differing({}, after)) == restart


# --- the engine -------------------------------------------------------------------------------------------------------------------------

RUNNING = {
    "installed": True,
    "enabled": True,
    "active": True,
    "file": "{}",
    "settings": {},
    "record": {},
    "pending": "",
    "new": False,
    "containers": {"model": "no", "web": "always"},
    "cdi": False,
    "data_root": "/var/lib/docker",
}


def found(state, **desired):
    resource = daemon.Engine({"name": "docker", **desired})
    return {change.field: (change.before, change.after) for change in resource.diff({**RUNNING, **state})}


def test_a_restart_names_what_it_stops():
    assert found({}, settings={"dns": ["a"]}) == {
        "dns": (None, ["a"]),
        "running containers": ("model, web", "restarted with the engine; model only when somebody starts them (no restart policy)"),
    }
    assert list(found({}, settings={"debug": True})) == ["debug"]
    assert list(found({"active": False, "containers": {}}, settings={"dns": ["a"]})) == ["dns", "active"]


def test_a_restart_that_is_owed_is_a_difference():
    assert list(found({"pending": "restart"})) == ["configuration in use", "running containers"]
    assert list(found({"pending": "reload"})) == ["configuration in use"]


def test_an_engine_that_has_cdi_by_itself_is_not_restarted_for_it():
    wanted = {"features": {"cdi": True}}
    assert found({"cdi": True}, settings=wanted) == {}
    assert "features.cdi" in found({"cdi": False}, settings=wanted)
    ours = {"settings": [{"path": ["features", "cdi"], "ours": True}]}
    assert found({"cdi": True, "settings": wanted, "record": ours}, settings=wanted) == {}


def test_defaults_are_for_a_new_engine():
    assert found({}, defaults=LOGS) == {}
    assert "log-driver" in found({"new": True, "file": None}, defaults=LOGS)
    ours = {"settings": [{"path": ["log-driver"], "ours": "json-file"}, {"path": ["log-opts", "max-size"], "ours": "10m"}]}
    assert found({"settings": LOGS, "record": ours}, defaults=LOGS) == {}
    # one that was chosen and is so no longer leaves nothing behind
    chosen = {"settings": [{"path": ["log-driver"], "ours": "local"}]}
    assert found({"settings": {"log-driver": "local"}, "record": chosen}, defaults=LOGS)["log-driver"] == ("local", None)


def test_data_is_never_put_out_of_sight(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    state, moved = {"data_root": str(old)}, {"data-root": str(new)}
    assert "data-root" in found(state, settings=moved)  # there is none yet
    (old / "containers" / "c1").mkdir(parents=True)
    (old / "volumes" / "v1" / "_data").mkdir(parents=True)
    with pytest.raises(ResourceError, match="1 containers, 1 volumes would be out of sight"):
        found(state, settings=moved)
    assert "data-root" in found(state, settings=moved, allow_data_root_change=True)
    (new / "containers" / "c1").mkdir(parents=True)  # moved by its user
    assert "data-root" in found(state, settings=moved)


@pytest.mark.parametrize("text", ["{broken", "[]", '"text"'])
def test_a_file_that_is_no_mapping_is_an_error_that_names_it(text):
    with pytest.raises(ResourceError, match=r"daemon[.]json"):
        daemon.parsed(daemon.FILE, text)


def test_a_file_that_is_refused_is_not_written(tmp_path):
    path = tmp_path / "docker" / "daemon.json"
    daemon.replace(str(path), "old")
    path.chmod(0o600)

    def refuse(new):
        assert new != str(path)
        raise ResourceError("no")

    with pytest.raises(ResourceError):
        daemon.replace(str(path), "new", refuse)
    assert (path.read_text(), [entry.name for entry in path.parent.iterdir()]) == ("old", ["daemon.json"])
    daemon.replace(str(path), "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """An engine at a socket that answers what is in the mapping, and 404 else; the mapping."""
    answers = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = json.dumps(answers.get(self.path, {"message": "No such container"})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words):
            pass

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

        def get_request(self):
            return super().get_request()[0], ("local", 0)

    path = str(tmp_path / "s")
    monkeypatch.setattr(daemon, "SOCKET", path)
    for name in ("FILE", "RECORD", "PENDING"):
        monkeypatch.setattr(daemon, name, str(tmp_path / name))
    unit = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "InvocationID": "1", "ConsistsOf": ""}
    monkeypatch.setattr(daemon, "service", lambda: unit)
    server = Server(path, Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield answers
    server.shutdown()
    server.server_close()


def test_a_container_that_ends_while_the_others_are_asked(engine):
    """It neither hides them, nor what the engine says of itself: an engine that has CDI on by itself would be restarted for it."""
    engine["/info"] = {"CDISpecDirs": ["/etc/cdi"], "DockerRootDir": "/srv/docker"}
    engine["/containers/json"] = [{"Id": "gone"}, {"Id": "here"}]
    engine["/containers/here/json"] = {"Name": "/agent", "HostConfig": {"RestartPolicy": {"Name": "always"}}}
    resource = daemon.Engine({"name": "docker", "settings": {"features": {"cdi": True}}})
    state = resource.read()
    assert state["containers"] == {"agent": "always"}
    assert state["data_root"] == "/srv/docker"
    assert resource.diff(state) == []


def test_an_engine_that_does_not_say_whether_it_has_cdi_is_not_restarted_for_it(engine):
    resource = daemon.Engine({"name": "docker", "settings": {"features": {"cdi": True}}})
    assert resource.diff(resource.read()) == []
    engine.update({"/info": {"CDISpecDirs": None}, "/containers/json": []})
    assert [change.field for change in resource.diff(resource.read())] == ["features.cdi"]
