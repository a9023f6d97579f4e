# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of test hosts: what its inventory says, what runs on it, and what its hosts look like from outside."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bed import images
from tests.bed.hosts import Bed, Host
from tests.bed.paths import CHECKOUT
from tests.bed.play import Play, inventory, play

SNAPSHOT = Path(__file__).with_name("snapshot.py").read_text()
ANSWER = "pong from tiny-agent"
NEMOCLAW = "/home/nemoclaw/.nemoclaw/sandboxes.json"
THEIRS = {"sandboxes": {"theirs": {"name": "theirs", "agent": "openclaw", "gatewayName": "nemoclaw"}}, "defaultSandbox": "theirs"}
UNCHANGED = ["nemoclaw.fleet.host_probe", "nemoclaw.fleet.drift"]  # all that runs on a host where nothing differs


class Fleet:
    """Three test hosts and their inventory: h1 and h3 are Debian 12, h2 is Debian 13.

    h2 has the user nemoclaw, and a sandbox of NemoClaw's own, before anything is onboarded, h3 lacks the Python modules and has no package lists. The key
    of the model servers is made for this fleet alone, so that it can be searched for.
    """

    LOADED = (images.OPENCLAW,)
    BASE = images.OPENCLAW.aliases[0]

    def __init__(self, bed: Bed, binaries: Path, directory: Path):
        self.bed = bed
        self.binaries = binaries
        self.directory = directory
        self.key = f"sk-canary-{secrets.token_hex(16)}"
        self.before: dict[str, dict] = {}  # snapshot of each fresh host
        self.touched: set[str] = set()  # hosts that are no longer fresh
        self.variables: dict = {
            "nemoclaw_openshell": {"source": "directory", "path": str(binaries)},
            "nemoclaw_inference": {
                "provider": "custom",
                "endpoint_url": "http://127.0.0.1:8102/v1",
                "model": "tiny-agent",
                "context_window": 65536,
                "max_tokens": 2048,
            },
            "nemoclaw_credentials": {"COMPATIBLE_API_KEY": self.key},
            "nemoclaw_images": {"openclaw": {"base": self.BASE}},
            "nemoclaw_sandboxes": [{"name": "assistant"}],
        }
        self.of_host: dict[str, dict] = {host.name: {} for host in bed.hosts}  # variables of one host, over those of all

    def __getitem__(self, name: str) -> Host:
        return self.bed[name]

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.bed.hosts]

    def listing(self, hosts: dict[str, dict] | None = None) -> dict:
        """The inventory; ``hosts`` replaces the fleet's own by others, each with its variables."""
        listing = inventory(self.bed, self.variables)
        if hosts is not None:
            listing["all"]["hosts"] = hosts
        for name, own in self.of_host.items():
            if hosts is None:
                listing["all"]["hosts"][name].update(own)
        return listing

    def play(self, playbook: str, *arguments, hosts: dict[str, dict] | None = None, **options) -> Play:
        """Run a playbook on the fleet, or on the ``hosts`` of `listing`; other options as `tests.bed.play.play` takes them."""
        with tempfile.NamedTemporaryFile("w", dir=self.directory, suffix=".json") as file:  # its own: runs may go side by side
            json.dump(self.listing(hosts), file)
            file.flush()
            run = play(playbook, file.name, *arguments, **options)
        print(f"--- {playbook} {arguments} {options}: exit {run.rc}, {run.seconds:.1f} s\n{run.output}")  # shown by pytest when the test fails
        return run

    def change(self, host: str, name: str, **values) -> None:
        """Set keys of a variable for one host; of its only sandbox for ``nemoclaw_sandboxes``."""
        current = self.of_host[host].get(name, self.variables[name])
        self.of_host[host][name] = [{**current[0], **values}] if isinstance(current, list) else {**current, **values}

    def onboarded(self) -> None:
        """Have every host onboarded; those that are stay as they are."""
        self.touched.update(self.names)
        for host in self.bed.hosts:
            if host.state() != "running":
                host.start()
        run = self.play("onboard.yml", variables={"nemoclaw_allow_rebuild": True})
        assert run.rc == 0, run.output.rpartition("SUMMARY")[2]

    def up(self) -> None:
        """Have the hosts running; those of an earlier session are taken as they are."""
        self.bed.up(report=lambda text: None, load=self.LOADED)
        for host in self.bed.hosts:
            self.serve(host.name, key=self.key, alias="tiny-agent")
            if host.exec("test", "-e", "/etc/nemoclaw-nemoclaw.json", check=False).returncode == 0:
                self.touched.add(host.name)
            elif host.name not in self.before:
                self._furnish(host.name)
                self.before[host.name] = self.snapshot(host.name)

    def fresh(self) -> None:
        """Have every host as it was before anything ran on it."""
        for name in sorted(self.touched):
            self[name].remove()
            self.before.pop(name, None)
        if self.touched:
            self.touched.clear()
            self.up()
        self.of_host = {name: {} for name in self.names}

    def _furnish(self, name: str) -> None:
        if name == "h2":
            self[name].sh("getent passwd nemoclaw >/dev/null || useradd --create-home nemoclaw; echo mine > /home/nemoclaw/notes.txt")
            self[name].sh("install --directory --owner nemoclaw --group nemoclaw --mode 0700 /home/nemoclaw/.nemoclaw")
            self[name].write_file(NEMOCLAW, json.dumps(THEIRS, indent=2) + "\n", "0600", "nemoclaw:nemoclaw")
        if name == "h3":
            modules = "/usr/lib/python3/dist-packages/docker /usr/lib/python3/dist-packages/requests"
            self[name].sh(f"dpkg --remove --force-depends python3-docker python3-requests 2>/dev/null; rm -rf {modules} /var/lib/apt/lists/*")

    def serve(self, name: str, key: str = "", alias: str = "") -> None:
        """Restart a host's model server with another key, or under other names (``tiny-agent,other``)."""
        host = self[name]
        if key:
            host.exec("tee", "/etc/llama-server/api-key", input=f"{key}\n")
        if alias:
            host.sh(f"sed -i 's/--alias [^ ]*/--alias {alias}/' /etc/systemd/system/llama-server.service && systemctl daemon-reload")
        host.exec("systemctl", "restart", "llama-server")
        host.exec("bed-ready")

    def snapshot(self, name: str) -> dict[str, dict]:
        """What a host has: users, groups, units, packages, containers, images, networks, volumes, and the files where anything of ours could be."""
        return json.loads(self[name].exec("python3", "-", input=SNAPSHOT).stdout)

    def openshell(self, name: str, *arguments: str, environment=(), check: bool = True, input: str | None = None) -> str:
        """Run ``openshell -g nemoclaw ARGUMENTS`` on a host as the gateway's owner; standard output. ``environment`` holds NAME=VALUE texts."""
        argv = ["runuser", "-u", "nemoclaw", "--", "env", "HOME=/home/nemoclaw", *environment, "openshell", "-g", "nemoclaw", *arguments]
        return self[name].exec(*argv, check=check, input=input).stdout

    def inside(self, name: str, script: str, check: bool = True) -> str:
        """Run a shell script in the sandbox of a host; standard output, stripped."""
        return self.openshell(name, "sandbox", "exec", "--name", "assistant", "--no-tty", "--timeout", "60", "--", "bash", "-c", script, check=check).strip()

    def dashboard(self, name: str) -> bool:
        """Whether the agent says through its forwarded port that it is ready."""
        return '"ready":true' in self[name].exec("curl", "-s", "-m", "5", "http://127.0.0.1:18789/readyz", check=False).stdout.replace(" ", "")

    def chat(self, name: str) -> bool:
        """Whether the model answers from inside the sandbox."""
        request = json.dumps({"model": "any", "messages": [{"role": "user", "content": "ping"}]})
        url = "https://inference.local/v1/chat/completions"
        return ANSWER in self.inside(name, f"curl -s -m 20 {url} -H 'content-type: application/json' -d '{request}'", check=False)

    def await_agent(self, name: str, timeout: float = 300) -> float:
        """Wait until agent and model answer; the seconds it took."""
        began = time.monotonic()
        while not (self.dashboard(name) and self.chat(name)):
            assert time.monotonic() - began < timeout, f"{name}: no agent within {timeout} s"
            time.sleep(0.5)
        return time.monotonic() - began


class QuickFleet(Fleet):
    """The same with an agent that starts at once (quick_agent.py), where it is not the agent that is tested."""

    LOADED = (images.SANDBOX,)
    BASE = "quick-agent:1"
    DOCKERFILE = """
FROM nf/sandbox:1
USER root
COPY openclaw /usr/local/bin/
RUN ln -s /bin/true /usr/local/bin/node && install --mode 4755 /usr/bin/id /usr/local/bin/id-as-root
USER sandbox
"""

    def _furnish(self, name: str) -> None:
        super()._furnish(name)
        agent = "#!/usr/bin/python3\n" + Path(__file__).with_name("quick_agent.py").read_text()
        self[name].write_file("/root/quick/openclaw", agent, mode="0755")
        self[name].write_file("/root/quick/Dockerfile", self.DOCKERFILE)
        self.provide(name)

    def provide(self, name: str) -> None:
        """Have the images in a host's engine, also in one that has lost them."""
        self[name].load_images(self.LOADED)
        self[name].sh(f"docker build --quiet --tag {self.BASE} /root/quick")


def answer(run: Play, host: str) -> str:
    """What the agent of a host answered in this run; empty where it was not asked or did not answer."""
    asked = [result["sandboxes"]["assistant"]["answer"] for result in run.of_host(host, "nemoclaw.fleet.verify") if "sandboxes" in result]
    return asked[-1] if asked else ""


def predicted(run: Play, host: str) -> list[dict]:
    """The differences that the last comparison of this run found, each with resource, field, before and after."""
    return run.of_host(host, "nemoclaw.fleet.drift")[-1]["changes"]


def resources(changes: list[dict]) -> set[str]:
    return {change["resource"] for change in changes}


def changed(run: Play, host: str) -> set[str]:
    """The resources that the collection's modules changed."""
    done = [entry["result"] for entry in run.results if entry["host"] == host and entry["action"] != "nemoclaw.fleet.drift"]
    return {change["resource"] for result in done if result.get("changed") for change in result.get("changes", [])}


def unchanged(run: Play, host: str) -> bool:
    return run.recap[host]["changed"] == run.recap[host]["failed"] == 0 and run.executions[host] == UNCHANGED


def blueprint_with(directory: Path, version: str, **changes: tuple[str, str]) -> dict[str, str]:
    """`nemoclaw_blueprint` of a copy of the blueprint with texts of its files replaced, each `file: (old, new)`."""
    root, manifest = directory / version, "MANIFEST.sha256"
    shutil.copytree(CHECKOUT / "blueprint", root)
    for name, (old, new) in {"blueprint.yaml": ("version: 0.1.0", f"version: {version}"), **changes}.items():
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name != manifest)
    (root / manifest).write_text("".join(f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n" for name in files))
    return {"source": str(root), "version": version, "digest": hashlib.sha256((root / manifest).read_bytes()).hexdigest()}


def save_image(host: Host, image: str, path: Path) -> None:
    """`docker save` on a host, into a file here."""
    with path.open("wb") as file:
        subprocess.run(["docker", "exec", host.container, "docker", "save", image], stdout=file, check=True)


def differences(before: dict[str, dict], after: dict[str, dict]) -> list[str]:
    """Lines of two snapshots of a host that are only in one of them, marked by - and +."""
    old, new = ({f"{kind} {name} {value}" for kind, entries in side.items() for name, value in entries.items()} for side in (before, after))
    return sorted([f"- {line}" for line in old - new] + [f"+ {line}" for line in new - old], key=lambda line: line[2:])
