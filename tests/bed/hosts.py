# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hosts: a Bed is a network of containers that behave as machines, a Host is one of them.

Everything made here carries the label ``nemoclaw.fleet/bed=NAME`` and is found again by it; nothing else is ever touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import images
from .paths import IMAGES, NVIDIA, SSH_KEY, TESTS
from .shell import CommandFailed, docker, one_at_a_time, run

LABEL = "nemoclaw.fleet/bed"
MADE = "nemoclaw.fleet/made-from"  # digest of how a host was made
SUITES = ("bookworm", "trixie")  # of h1, h2, h1 again …
# third octet; others get one of 80 to 199 by their name
NETWORKS = {"demo": 77, "test": 78, "molecule-gateway": 79, "molecule-preflight": 76, "molecule-engine": 75}
CAPABILITIES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW
    IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD
    LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
""".split()  # in the kernel's order; an engine of Debian 12 refuses the names of later ones


def capability_options() -> list[str]:
    """Every capability that this machine has itself: one that it lacks would make the engine refuse the container."""
    status = Path("/proc/self/status").read_text()
    bounding = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), 16)
    return ["--cap-drop=ALL", *(f"--cap-add={name}" for bit, name in enumerate(CAPABILITIES) if bounding >> bit & 1)]


def boot_options() -> tuple[list[str], list[str]]:
    """How systemd gets its control groups: options of `docker run`, and the command that is PID 1."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return ["--cgroupns=private"], ["/bin/sh", "-c", "mount -o remount,rw /sys/fs/cgroup && exec /lib/systemd/systemd"]
    hierarchies = [path for path in Path("/sys/fs/cgroup").iterdir() if path.is_dir() and not path.is_symlink() and path.name != "unified"]
    # One mount each below an own tmpfs: systemd would remount a shared one, and that is this machine's.
    options = ["--tmpfs=/sys/fs/cgroup:rw,mode=755", *(f"--volume={path}:{path}" for path in hierarchies)]
    # In a container systemd reads its arguments as the kernel's: without these a newer one refuses cgroup v1.
    return options, ["/lib/systemd/systemd", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1", "systemd.unified_cgroup_hierarchy=0"]


class Host:
    """One test host. Methods raise CommandFailed unless said otherwise."""

    def __init__(self, bed: Bed, number: int):
        self.bed = bed
        self.name = f"h{number}"
        self.container = f"nemoclaw-bed-{bed.name}-{self.name}"
        self.suite = bed.suites[(number - 1) % len(bed.suites)]
        self.address = f"{bed.prefix}.{10 + number}"

    def exec(self, *argv, check=True, input=None, timeout=600) -> subprocess.CompletedProcess:
        """Run argv as root on the host; text output. ``input`` is its stdin. ``check=False`` gives a failure back instead of raising."""
        interactive = ["--interactive"] if input is not None else []
        return run("docker", "exec", *interactive, self.container, *argv, check=check, input=input, timeout=timeout)

    def sh(self, script: str, **options) -> str:
        """Run a shell script as root; returns its standard output, stripped."""
        return self.exec("sh", "-c", script, **options).stdout.strip()

    def await_port(self, port: int, timeout: float = 120) -> None:
        """Wait until something listens on a TCP port of the host."""
        self.sh(f"until ss -ltnH 'sport = :{port}' | grep --quiet .; do sleep 0.1; done", timeout=timeout)

    def write_file(self, path: str, text: str, mode: str = "0644", owner: str = "root:root") -> None:
        quoted = shlex.quote(path)
        self.sh(f"mkdir -p $(dirname {quoted}) && cat > {quoted} && chmod {mode} {quoted} && chown {owner} {quoted}", input=text)

    def read_file(self, path: str) -> str:
        return self.exec("cat", path).stdout

    def run_options(self) -> list[str]:
        """What `docker run` makes this host from, but for the label that remembers it."""
        options, command = boot_options()
        binds = {
            images.LLAMA: "/opt/llama-server",
            TESTS / "kit": "/opt/tiny-agent",
            IMAGES: "/bed/images",
            TESTS / "emulator": "/usr/local/lib/openshell-emulator",
            Path(f"{SSH_KEY}.pub"): "/etc/ssh/bed_authorized_keys",
            Path("/lib/modules"): "/lib/modules",
        }
        return [
            *("--name", self.container, "--hostname", self.name, "--label", f"{LABEL}={self.bed.name}"),
            *("--network", self.bed.network, "--ip", self.address),
            *capability_options(),
            *(f"--security-opt={option}=unconfined" for option in ("seccomp", "apparmor", "systempaths")),
            *("--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec", "--stop-signal=SIGRTMIN+3", "--env=container=docker"),
            *options,
            f"--mount=type=volume,src={self.container}-docker,dst=/var/lib/docker,volume-label={LABEL}={self.bed.name}",
            *(f"--mount=type=bind,src={source},dst={target},readonly" for source, target in binds.items() if source.exists()),
            images.HOSTS[self.suite].tag,
            *command,
        ]

    def create(self) -> None:
        """Make and boot the host; one that exists is only booted, unless it would be made otherwise now."""
        options = self.run_options()
        made = hashlib.sha256("\0".join(options).encode()).hexdigest()[:12]
        found = run("docker", "container", "inspect", "--format", f'{{{{index .Config.Labels "{MADE}"}}}}', self.container, check=False)
        if found.returncode == 0 and found.stdout.strip() != made:
            self.remove()
        if found.stdout.strip() != made:
            docker("run", "--detach", "--label", f"{MADE}={made}", *options)
        self.start()

    def state(self) -> str | None:
        """The container's state (``running``, ``exited`` …), None where there is none."""
        found = run("docker", "container", "inspect", "--format", "{{.State.Status}}", self.container, check=False)
        return found.stdout.strip() if found.returncode == 0 else None

    def start(self) -> float:
        """Boot; waits until systemd, sshd, Docker and the model server are up. Returns the seconds it took."""
        began = time.monotonic()
        docker("start", self.container)
        self.exec("bed-ready")
        return time.monotonic() - began

    def stop(self) -> None:
        """Shut down in order."""
        docker("stop", "--time", "30", self.container)

    def pull_the_plug(self) -> None:
        """Off at once, nothing is told."""
        docker("kill", self.container)

    def reboot(self) -> float:
        """Shut down and boot; returns the seconds until it is up again."""
        began = time.monotonic()
        self.stop()
        self.start()
        return time.monotonic() - began

    def load_images(self, recipes=images.SANDBOX_IMAGES) -> None:
        """Have sandbox images in the host's own engine, under their tag and aliases."""
        for recipe in recipes:
            if self.exec("docker", "image", "inspect", recipe.tag, check=False).returncode != 0:
                self.exec("docker", "load", "--quiet", "--input", f"/bed/images/{recipe.archive.name}")
            for alias in recipe.aliases:
                self.exec("docker", "tag", recipe.tag, alias)

    def install_gpus(self, capture: str = "k8s-test-infra__hardware-qx-l40s.xml", driver: str = "") -> None:
        """Give the host an nvidia-smi that answers as recorded, and an nvidia-ctk that makes CDI devices of that; ``driver`` is another driver version."""
        recorded = (TESTS / "unit" / "captures" / "nvidia-smi" / capture).read_text()
        if driver:
            recorded = re.sub(r"(?<=<driver_version>)[^<]+", driver, recorded)
        self.write_file("/usr/local/lib/nvidia/nvidia-smi.xml", recorded)
        programs = {"nvidia-smi": (NVIDIA / "nvidia-smi").read_text(), "nvidia-ctk": "#!/usr/bin/python3\n" + (NVIDIA / "nvidia_ctk.py").read_text()}
        for name, text in programs.items():
            self.write_file(f"/usr/local/bin/{name}", text, "0755")

    def remove(self) -> None:
        nested = containers_inside(self.container)
        run("docker", "rm", "--force", "--volumes", self.container, check=False)
        drop_control_groups(nested)
        run("docker", "volume", "rm", "--force", f"{self.container}-docker", check=False)


class Bed:
    """A named set of hosts h1 … hN on a network of their own, reachable by ssh from this machine as ``ops`` with `ssh_key`."""

    def __init__(self, name: str, hosts: int = 3, suites: tuple[str, ...] = SUITES):
        self.name = name
        self.suites = suites
        self.prefix = f"10.213.{NETWORKS.get(name, 80 + zlib.crc32(name.encode()) % 120)}"
        self.network = f"nemoclaw-bed-{name}"
        self.hosts = [Host(self, number) for number in range(1, hosts + 1)]

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def up(self, report=print, load=images.SANDBOX_IMAGES) -> None:
        """Have every host running and ready, with the sandbox images in its engine; goes on where an earlier call stopped."""
        for recipe in {images.HOSTS[host.suite] for host in self.hosts}:
            images.ensure(recipe)
        for recipe in load:
            images.ensure_archive(recipe)
        images.ensure_llama_server()
        make_ssh_key()
        if run("docker", "network", "inspect", self.network, check=False).returncode != 0:
            docker(
                *("network", "create", "--label", f"{LABEL}={self.name}", "--subnet", f"{self.prefix}.0/24"),
                *("--gateway", f"{self.prefix}.1", "--opt", f"com.docker.network.bridge.name=nfbed-{self.prefix.split('.')[2]}", self.network),
            )

        def boot(host: Host) -> None:
            began = time.monotonic()
            host.create()
            host.load_images(load)
            report(f"{host.name}: {host.address}, {host.suite}, up in {time.monotonic() - began:.1f} s")

        with ThreadPoolExecutor(max_workers=3) as pool:
            list(pool.map(boot, self.hosts))

    def down(self) -> None:
        """Remove every container, volume and the network that carry this bed's label."""
        mine = ("--filter", f"label={LABEL}={self.name}", "--quiet")
        containers = docker("ps", "--all", *mine).split()
        nested = [inner for outer in containers for inner in containers_inside(outer)]
        if containers:
            docker("rm", "--force", "--volumes", *containers)
        drop_control_groups(nested)
        for kind in ("volume", "network"):
            for found in docker(kind, "ls", *mine).split():
                if kind == "volume":
                    swap_off(found)
                docker(kind, "rm", found)

    def status(self) -> list[dict]:
        """One line a container of this bed: name, address, image, state."""
        containers = docker("ps", "--all", "--filter", f"label={LABEL}={self.name}", "--quiet").split()
        rows = []
        for found in json.loads(docker("container", "inspect", *containers)) if containers else []:
            network = found["NetworkSettings"]["Networks"].get(self.network, {})
            address = (network.get("IPAMConfig") or {}).get("IPv4Address", "")
            rows.append({"name": found["Config"]["Hostname"], "address": address, "image": found["Config"]["Image"], "state": found["State"]["Status"]})
        return sorted(rows, key=lambda row: row["name"])


def swap_off(volume: str) -> None:
    """Swap that a host made in its volume stays in use by the kernel that it shares with this machine, and cannot be removed so."""
    directory = docker("volume", "inspect", "--format", "{{.Mountpoint}}", volume).strip()
    for file in Path(directory).glob("swap*"):
        run("swapoff", file, check=False)


def containers_inside(container: str) -> list[str]:
    """Full ids of the containers of a host's own engine; none if it is off."""
    return run("docker", "exec", container, "docker", "ps", "--all", "--quiet", "--no-trunc", check=False).stdout.split()


def drop_control_groups(containers: list[str]) -> None:
    """On cgroup v1 a nested container's groups lie beside its host's, where no engine clears them up when the host goes."""
    for container in containers:
        for group in Path("/sys/fs/cgroup").glob(f"*/docker/{container}"):
            for directory, _children, _files in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):  # still in use, or just gone
                    Path(directory).rmdir()


def make_ssh_key() -> None:
    with one_at_a_time(SSH_KEY):
        if not SSH_KEY.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "nemoclaw test bed", "-f", SSH_KEY)


def beds() -> list[str]:
    """Names of the beds that have a container, a volume or a network."""
    names = set()
    for kind in (("ps", "--all"), ("network", "ls"), ("volume", "ls")):
        names.update(docker(*kind, "--filter", f"label={LABEL}", "--format", f'{{{{.Label "{LABEL}"}}}}').split())
    return sorted(names)


def drop_images() -> None:
    """Take the host images out of the engine, unless another bed runs from them; the cache keeps their archives."""
    if beds():
        return
    for reference in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=nemoclaw-bed/*").split():
        docker("image", "rm", reference, check=False)


__all__ = ["LABEL", "Bed", "CommandFailed", "Host", "beds", "drop_images", "make_ssh_key"]
