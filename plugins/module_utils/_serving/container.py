# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model server in a container: made once, left alone while it is as desired, replaced so that the one before serves on when the new one fails.

Private to the collection.
"""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import pwd
import re
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.client import EngineError, EngineUnavailable, connect, docker, translated
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import alone, secret_file
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.engine import SPEC
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import endpoint as serving

# of a container, with what is meant where nothing is said; everything else is about how it is brought up
DEFAULTS: dict[str, t.Any] = {
    "image": "",
    "entrypoint": [],
    "command": [],
    "environment": {},
    "user": "",
    "secret_files": [],
    "secret_environment": {},
    "mounts": [],
    "publish": {},
    "devices": [],
    "shm_mb": 64,
    "ulimits": {},
    "labels": {},
}
RESTART = "unless-stopped"
LOG_LINES = 30
PAUSE = 1.0
GOING = 60  # seconds that a container may take to go
TAKEN = re.compile(r"address already in use|port is already allocated")
REFUSED = 2  # what argparse exits with


class Container(Resource):
    """C({name} + DEFAULTS + {health: {path, key_file, timeout}, check, side_by_side}).

    C(publish) is C({addresses, port, target}), C(devices) names CDI devices. C(secret_files), each C({source, target}), are files of the host that are
    mounted read-only: nothing secret is in what C(docker inspect) shows, and a file that is newer than the container's start restarts it. A program that
    wants a secret in its environment gets it from such a file by C(secret_environment), names to paths. C(user) is one of the host's. C(check) is a
    command that is run in the image first: where it ends with 2, nothing is replaced. C(side_by_side) says that there is room for old and new at once.

    Only a server that answers gets its restart policy: one that never did does not start again and again, and its log stays to be read.
    """

    kind = "container"

    def __init__(self, desired: dict[str, t.Any]) -> None:
        super().__init__({**DEFAULTS, **{key: value for key, value in desired.items() if value is not None}})

    @property
    def spec(self) -> dict[str, t.Any]:
        return {key: self.desired[key] for key in DEFAULTS}

    @property
    def before(self) -> str:
        """Name of the one that is replaced, until its successor answers."""
        return f"{self.name}-before"

    @property
    def trial(self) -> str:
        return f"{self.name}-trial"

    # --- what is there --------------------------------------------------------------------------------------------------------------------

    def read(self) -> dict[str, t.Any]:
        try:
            found = inspect(self.name)
            if not found:
                return {"interrupted": True} if inspect(self.before) else {}
        except EngineUnavailable:  # applying says what is wrong
            return {}
        label = (found["Config"].get("Labels") or {}).get(SPEC)
        state = {
            "ours": label is not None,
            "spec": json.loads(label or "{}"),
            "state": found["State"]["Status"],
            "restart": found["HostConfig"]["RestartPolicy"]["Name"],
            "secrets": "as they are" if self._secrets_are_older(found) else "replaced since",
            "interrupted": bool(inspect(self.before) or inspect(self.trial)),
        }
        if self.absent or state["state"] != "running" or state["spec"] != self.spec:
            return state
        return {**state, "models": self.models()}

    def _secrets_are_older(self, found: dict[str, t.Any]) -> bool:
        """Whether the container has read its secrets as they are now."""
        files = [entry["source"] for entry in self.desired["secret_files"] if os.path.exists(entry["source"])]
        return all(os.stat(file).st_mtime <= seconds(found["State"]["StartedAt"]) for file in files)

    def models(self, port: int = 0) -> list[str] | None:
        """What it serves; None while it does not answer."""
        health, key = self.desired["health"], secret_file.read(self.desired["health"].get("key_file") or "")
        base = f"http://127.0.0.1:{port or self.desired['publish']['port']}{health.get('path', '/v1')}"
        try:
            return serving.Endpoint(base, key, serving.CONNECT_TIMEOUT).models() or None
        except serving.Failure:
            return None

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state.get("ours") or state.get("interrupted") else []
        if not state or "spec" not in state:
            return [self.change("state", "absent", "running")]
        if not state["ours"]:
            return [self.change("made by", "others", "nemoclaw.fleet")]
        if changes := self.compare(state["spec"], self.spec):
            return changes
        changes = self.compare(state, {"state": "running", "restart": RESTART, "secrets": "as they are", "interrupted": False})
        if state["state"] == "running" and state["models"] is None:
            changes.append(self.change("answers", False, True))
        return changes

    # --- making it so ---------------------------------------------------------------------------------------------------------------------

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        alone.apply(self, self.name, state, self._apply)

    def _apply(self, state: dict[str, t.Any]) -> None:
        if not self.absent and not state.get("ours", True):
            raise ResourceError(f"The container {self.name} was not made by this collection.", f"Remove it ('docker rm --force {self.name}') and run again.")
        if self.absent:
            for name in (self.trial, *([self.name] if state.get("ours") else []), self.before):
                remove(name)
            return
        if state.get("interrupted") and state.get("spec") != self.spec:
            self._take_back()
            state = self.read()
        if state and state["restart"] != RESTART and state["spec"] != self.spec:  # it never answered: nothing to go back to
            remove(self.name)
            state = {}
        if state.get("spec") != self.spec:
            self._replace(state)
        else:
            self._bring_up(state)

    def _bring_up(self, state: dict[str, t.Any]) -> None:
        """The container is the right one: start it, or wait for it."""
        remove(self.trial)

        def start() -> None:
            with translated(f"The container {self.name} cannot be started", self._remedy):
                if state["state"] == "restarting" or (state["state"] == "running" and state["secrets"] != "as they are"):
                    connect().restart(self.name)  # the engine takes one that ends again and again for a running one, and starts it when it likes
                elif state["state"] != "running":
                    connect().start(self.name)

        self._settle(start)

    def _replace(self, state: dict[str, t.Any]) -> None:
        self._check()
        remove(self.trial)
        if state and self._beside(state["spec"]):
            self._try()
        if state:
            with translated(f"The container {self.name} cannot be put aside"):
                connect().stop(self.name, timeout=60)
                connect().rename(self.name, self.before)
        self._settle(lambda: self._make(self.name, self.desired["publish"]["addresses"], self.desired["publish"]["port"]))

    def _beside(self, before: dict[str, t.Any]) -> bool:
        """Whether there is room for the one that is there, by its spec, and its successor at once."""
        return bool(self.desired.get("side_by_side"))

    def _settle(self, start: t.Callable[[], None]) -> None:
        """Have the container answer, then it is the one; else the one before is taken back, where there is one."""
        try:
            start()
            self._await(self.name)
        except ResourceError as error:
            if not inspect(self.before):
                raise
            raise ResourceError(f"{error.message} {self._restored()}", error.remedy) from error
        with translated(f"The container {self.name} cannot be given its restart policy"):
            connect().update_container(self.name, restart_policy={"Name": RESTART})
        remove(self.before)

    def _try(self) -> None:
        """Have the new one answer beside the old one, which serves on whatever comes of it; its files are warm in memory afterwards."""
        try:
            self._make(self.trial, ["127.0.0.1"], 0)
            self._await(self.trial)
        except ResourceError as error:
            raise ResourceError(f"{error.message} The container from before was not touched.", error.remedy) from error
        finally:
            remove(self.trial)

    def _take_back(self) -> None:
        if inspect(self.before):
            remove(self.name)
            with translated("The container from before cannot be started again"):
                connect().rename(self.before, self.name)
                connect().start(self.name)

    def _restored(self) -> str:
        """The one before is taken back; says what came of it, because why its successor failed must not be lost."""
        try:
            self._take_back()
        except ResourceError as error:
            return error.message
        return f"The container from before {'serves again' if self._comes_back() else 'was started again, but does not answer yet'}."

    def _comes_back(self) -> bool:
        deadline = time.monotonic() + self.desired["health"]["timeout"]
        while time.monotonic() < deadline and inspect(self.name).get("State", {}).get("Running"):
            if self.models() is not None:
                return True
            time.sleep(PAUSE)
        return False

    def _check(self) -> None:
        """Have the image itself judge the command. An image that cannot (it lacks the means, it wants a GPU) says nothing."""
        argv = self.desired.get("check")
        if not argv:
            return
        name = f"{self.name}-check"
        remove(name)
        try:
            code, log = run_once(name, self.desired["image"], argv, timeout=180)
        finally:
            remove(name)
        if code == REFUSED:
            last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
            raise ResourceError(f"The image {self.desired['image']} refuses the command: {last}. Nothing was changed.", self._remedy)

    def _make(self, name: str, addresses: list[str], port: int) -> None:
        wanted, engine = self.desired, connect()
        target = wanted["publish"]["target"]
        secrets = [{**entry, "read_only": True} for entry in wanted["secret_files"]]
        mounts = [
            docker.types.Mount(entry["target"], entry["source"], type="bind", read_only=entry.get("read_only", False))
            for entry in [*wanted["mounts"], *secrets]
        ]
        entrypoint, command = self._started_by()
        host = engine.create_host_config(
            init=True,
            mounts=mounts,
            port_bindings={target: [(address, port) if port else (address,) for address in addresses]},
            device_requests=device_requests(wanted["devices"], engine.info()),
            shm_size=wanted["shm_mb"] << 20,
            ulimits=[docker.types.Ulimit(name=key, soft=value, hard=value) for key, value in wanted["ulimits"].items()],
        )
        labels = {**wanted["labels"], SPEC: json.dumps(self.spec, sort_keys=True)}
        with translated(f"The container {name} cannot be made", self._remedy), self._port_is_free(name):
            engine.create_container(
                wanted["image"], command or None, name=name, entrypoint=entrypoint or None, environment=wanted["environment"], user=self._user or None,
                labels=labels, ports=[target], host_config=host,
            )  # fmt: skip
            engine.start(name)

    @contextlib.contextmanager
    def _port_is_free(self, name: str) -> t.Iterator[None]:
        try:
            yield
        except docker.errors.APIError as error:
            if not TAKEN.search(str(error.explanation)):
                raise
            remove(name)
            port = self.desired["publish"]["port"]
            raise ResourceError(
                f"The container {name} cannot be made: the port {port} is taken.",
                f"Stop what listens there ('ss -ltnp sport = :{port}' on the host names it), or give the server another port.",
            ) from error

    def _started_by(self) -> tuple[list[str], list[str]]:
        """Entrypoint and command; a shell before the image's own ones reads the secrets, so that only the process itself has them."""
        entrypoint, command = self.desired["entrypoint"], self.desired["command"]
        if not self.desired["secret_environment"]:
            return entrypoint, command
        with translated(f"The image {self.desired['image']} cannot be read"):
            own = connect().inspect_image(self.desired["image"])["Config"]
        exports = "".join(f'export {name}="$(cat {path})"; ' for name, path in self.desired["secret_environment"].items())
        started = [*(entrypoint or own.get("Entrypoint") or []), *(command or own.get("Cmd") or [])]
        return ["/bin/sh", "-c", f'{exports}exec "$@"', "sh"], started

    @property
    def _user(self) -> str:
        if not self.desired["user"]:
            return ""
        account = pwd.getpwnam(self.desired["user"])
        return f"{account.pw_uid}:{account.pw_gid}"

    @property
    def _remedy(self) -> str:
        return self.desired.get("remedy") or f"See 'docker logs {self.name}'."

    def _await(self, name: str) -> list[str]:
        """What it serves, once it answers; its last words where it ends, or takes too long."""
        began, timeout, progress = time.monotonic(), self.desired["health"]["timeout"], Progress(name)
        while True:
            found = inspect(name)
            if not found or not found["State"]["Running"] or found["State"].get("Restarting"):
                raise self._failure(name, f"ended before it answered{exit_of(found)}")
            port = int(found["NetworkSettings"]["Ports"][f"{self.desired['publish']['target']}/tcp"][0]["HostPort"])
            models = self.models(port)
            if models is not None:
                return models
            waited = time.monotonic() - began
            if waited > timeout:
                raise self._failure(name, f"does not answer after {timeout:g} s")
            progress.say(f"{waited:.0f} s: {(self._log(name, 1) or ['no log yet'])[-1]}")
            time.sleep(PAUSE)

    def _failure(self, name: str, problem: str) -> ResourceError:
        tail = self._log(name, LOG_LINES)
        log = "\nIts log ends with:\n" + "\n".join(f"  {line}" for line in tail) + "\n" if tail else " There is no log of it."
        return ResourceError(f"The container {name} {problem}.{log}", self._remedy)

    def _log(self, name: str, lines: int) -> list[str]:
        return log(name, lines, [secret_file.read(entry["source"]) for entry in self.desired["secret_files"]])


# --- containers of the engine -----------------------------------------------------------------------------------------------------------------


def inspect(name: str) -> dict[str, t.Any]:
    """The container, empty where there is none."""
    try:
        with translated(f"The container {name} cannot be read"):
            return connect().inspect_container(name)
    except EngineError as error:
        if isinstance(error.__cause__, docker.errors.NotFound):
            return {}
        raise


def remove(name: str) -> None:
    """Also one that is going already, or goes meanwhile."""
    deadline = time.monotonic() + GOING
    while inspect(name):
        try:
            with translated(f"The container {name} cannot be removed"):
                connect().remove_container(name, force=True, v=True)
            return
        except EngineError as error:
            going = isinstance(error.__cause__, docker.errors.NotFound) or "already in progress" in error.message
            if not going or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)


def log(name: str, lines: int, secrets: list[str]) -> list[str]:
    """The last lines that a container wrote, without the secrets; none where the log cannot be read: it has gone, or the engine sends logs elsewhere."""
    try:
        with translated(f"The log of {name} cannot be read"):
            text = connect().logs(name, tail=lines).decode("utf-8", "replace")
    except EngineError:
        return []
    return [line.rpartition("\r")[2].rstrip() for line in serving.mask(text, secrets).splitlines() if line.strip()]


def run_once(name: str, image: str, argv: list[str], timeout: float) -> tuple[int, str]:
    """Exit code and log of a command in an image, without network and devices; C(-1) where it takes too long."""
    engine = connect()
    with translated(f"The container {name} cannot be run"):
        engine.create_container(image, argv[1:], name=name, entrypoint=argv[:1], host_config=engine.create_host_config(network_mode="none", init=True))
        engine.start(name)
        deadline = time.monotonic() + timeout
        while inspect(name)["State"]["Running"]:
            if time.monotonic() > deadline:
                return -1, ""
            time.sleep(0.2)
        return inspect(name)["State"]["ExitCode"], engine.logs(name).decode("utf-8", "replace")


def device_requests(devices: list[str], info: dict[str, t.Any]) -> list[t.Any]:
    """CDI devices as this engine takes them; one that knows no CDI gets GPUs by their index from NVIDIA's runtime, as by C(--gpus)."""
    if not devices:
        return []
    if info.get("CDISpecDirs"):
        return [docker.types.DeviceRequest(driver="cdi", device_ids=devices)]
    names = [device.rpartition("=")[2] for device in devices]
    which = {"count": -1} if names == ["all"] else {"device_ids": names}
    return [docker.types.DeviceRequest(driver="nvidia", capabilities=[["gpu"]], **which)]


def exit_of(found: dict[str, t.Any]) -> str:
    state = found.get("State") or {}
    if state.get("OOMKilled"):
        return " (killed: out of memory)"
    return f" (exit code {state['ExitCode']})" if "ExitCode" in state else ""


def seconds(stamp: str) -> float:
    """Seconds since the epoch of the engine's time stamp, C(2026-01-02T03:04:05.123456789Z)."""
    whole, _dot, fraction = stamp.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")
