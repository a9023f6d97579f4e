# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the test bed runs from: host images, sandbox base images and a llama-server, built from Debian packages.

No image is pulled: each is bootstrapped once with mmdebstrap and kept as an archive in the cache, named by a digest of what it is made from.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .paths import IMAGES, LLAMA, NGINX, RECIPES
from .shell import docker, one_at_a_time, run

NODE_VERSION = "24.21.0"
OPENCLAW_VERSION = "2026.9.6"

SANDBOX_PACKAGES = ("bash", "iproute2", "nftables", "curl", "ca-certificates", "procps", "python3")
SANDBOX_CONFIG = ("WORKDIR /sandbox", "USER sandbox", 'CMD ["/bin/bash"]')
HOST_PACKAGES = """
    systemd systemd-sysv dbus dbus-user-session libpam-systemd openssh-server python3 python3-yaml python3-cryptography python3-docker python3-requests
    docker.io iptables nftables iproute2 curl sudo procps ca-certificates kmod less libz3-4
""".split()
APT_OPTIONS = ('APT::Install-Recommends "false"', 'Acquire::Languages "none"', 'Acquire::http::Pipeline-Depth "0"', 'Acquire::Retries "3"')
DPKG_OPTIONS = ("path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/doc/*", "force-unsafe-io")


def machine_digest() -> str:
    """Digest of what host images take from this machine: certificate authorities and pip configuration."""
    files = [*sorted(Path("/usr/local/share/ca-certificates").rglob("*.crt")), Path("/etc/pip.conf")]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.exists())).hexdigest()


@dataclass(frozen=True)
class Recipe:
    """One image: Debian packages of a suite, then a hook that finishes the tree."""

    name: str  # repository; the tag is the digest of everything below
    suite: str
    packages: tuple
    hooks: tuple = ()  # files of recipes/, the first is run, the others are what it uses
    config: tuple = ()  # Dockerfile instructions for `docker import`
    environment: dict = field(default_factory=dict, hash=False)
    aliases: tuple = ()  # further names, given on a test host

    @property
    def digest(self) -> str:
        parts = [self.suite, *self.packages, *self.config, *map(str, sorted(self.environment.items()))]
        parts += [(RECIPES / hook).read_text() for hook in self.hooks]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.digest}"

    @property
    def archive(self) -> Path:
        return IMAGES / f"{self.name.replace('/', '_')}-{self.digest}.tar"


HOSTS = {
    suite: Recipe(f"nemoclaw-bed/host-{suite}", suite, (*HOST_PACKAGES, *extra), hooks=("host.sh", "bed-ready"), environment={"MACHINE": machine_digest()})
    for suite, extra in {"bookworm": (), "trixie": ("docker-cli",)}.items()
}
SANDBOX = Recipe("nemoclaw-bed/sandbox", "bookworm", SANDBOX_PACKAGES, hooks=("sandbox.sh",), config=SANDBOX_CONFIG, aliases=("nf/sandbox:1",))
OPENCLAW = Recipe(
    "nemoclaw-bed/openclaw-base",
    "bookworm",
    (*SANDBOX_PACKAGES, "git"),
    hooks=("openclaw.sh", "sandbox.sh"),
    config=SANDBOX_CONFIG,
    environment={"NODE_VERSION": NODE_VERSION, "OPENCLAW_VERSION": OPENCLAW_VERSION},
    aliases=(f"openclaw-base:{OPENCLAW_VERSION}",),
)
SANDBOX_IMAGES = (SANDBOX, OPENCLAW)
ALL = (OPENCLAW, *HOSTS.values(), SANDBOX)


def apt_sources(suite: str) -> str:
    """The sources of this machine, for another suite; empty where this machine is no Debian (mmdebstrap then takes its own default)."""
    if platform.freedesktop_os_release()["ID"] != "debian":
        return ""
    this = platform.freedesktop_os_release()["VERSION_CODENAME"]
    targets = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").stdout
    lines = []
    for uri, release, component in (line.split() for line in targets.splitlines()):
        pocket = release.removeprefix(this)
        if component != "main" or pocket not in ("", "-updates", "-security") or (suite == "sid" and pocket):
            continue
        lines.append(f"deb {uri} {suite}{pocket} main\n")
    return "".join(dict.fromkeys(lines))


def bootstrap(suite, packages, target, *, variant="minbase", apt_options=(), hooks=(), environment=None) -> None:
    """Run mmdebstrap into ``target`` (a directory, or a tar file by its name)."""
    argv = ["mmdebstrap", "--quiet", f"--variant={variant}", "--mode=root", f"--include={','.join(packages)}"]
    argv += [f"--aptopt={option}" for option in APT_OPTIONS + apt_options] + [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
    argv += [f'--customize-hook={RECIPES / hook} "$1"' for hook in hooks[:1]]
    sources = apt_sources(suite)
    argv += [suite, str(target)] + (["-"] if sources else [])
    run("nice", *argv, input=sources or None, timeout=1800, env={**os.environ, **(environment or {})})


def in_engine(recipe: Recipe) -> bool:
    return run("docker", "image", "inspect", recipe.tag, check=False).returncode == 0


def ensure(recipe: Recipe) -> str:
    """Have the image in this machine's engine; returns its tag."""
    ensure_archive(recipe)
    if not in_engine(recipe):
        docker("load", "--quiet", "--input", recipe.archive)
    return recipe.tag


def ensure_archive(recipe: Recipe) -> Path:
    """Have the image as an archive in the cache, which `docker load` takes; returns the archive."""
    with one_at_a_time(recipe.archive):
        if not recipe.archive.exists():
            if not in_engine(recipe):
                build(recipe)
            partial = recipe.archive.with_suffix(".partial")
            docker("save", "--output", partial, recipe.tag)
            partial.rename(recipe.archive)
    return recipe.archive


def load(recipe: Recipe) -> None:
    """Have the image and its further names in this machine's engine; a name that is in use there stays as it is."""
    ensure(recipe)
    for alias in recipe.aliases:
        if run("docker", "image", "inspect", alias, check=False).returncode != 0:
            docker("tag", recipe.tag, alias)


def build(recipe: Recipe) -> None:
    tree = recipe.archive.with_suffix(".tree.tar")
    try:
        bootstrap(recipe.suite, recipe.packages, tree, hooks=recipe.hooks, environment=recipe.environment)
        changes = [word for line in recipe.config for word in ("--change", line)]
        docker("import", *changes, "--message", "built by tests.bed", tree, recipe.tag)
    finally:
        tree.unlink(missing_ok=True)


def extracted(target: Path, suite: str, packages: tuple, **options) -> Path:
    """Debian packages with all that they need, unpacked in a directory of the cache: programs that run by their own loader and libc, wherever that is."""
    with one_at_a_time(target):
        if not target.exists():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            bootstrap(suite, packages, partial, variant="extract", **options)
            partial.rename(target)
    return target


def ensure_llama_server() -> Path:
    """llama-server of Debian's llama.cpp; returns the directory."""
    # A frozen mirror's index of a rolling suite is out of date by its own word; its signature is checked all the same.
    return extracted(LLAMA, "sid", ("llama.cpp-tools",), apt_options=('Acquire::Check-Valid-Until "false"',))


def program(name: str) -> list[str]:
    """argv of nginx or wrk of Debian, unpacked beside this machine's own programs: nothing is installed, and no service of them starts."""
    root = extracted(NGINX, "bookworm", ("nginx", "wrk"))
    libraries = next((root / "usr/lib").glob("*-linux-gnu"))
    loader = next(path for path in (*libraries.glob("ld-linux-*.so.*"), *root.glob("lib*/ld-linux-*.so.*"), *root.glob("lib/*/ld-linux-*.so.*")))
    found = next(path for folder in ("usr/sbin", "usr/bin") if (path := root / folder / name).exists())
    return [str(loader), "--inhibit-cache", "--library-path", f"{libraries}:{root / 'lib' / libraries.name}", str(found)]


def ensure_all(report=print) -> None:
    """Build what is missing, two at a time (each is mostly waiting for the network)."""
    jobs = [(recipe.name, lambda recipe=recipe: ensure_archive(recipe)) for recipe in ALL] + [("llama-server", ensure_llama_server)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, future in [(name, pool.submit(job)) for name, job in jobs]:
            report(f"{name}: {future.result()}")
