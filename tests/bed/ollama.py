# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Ollama for test hosts, built once from its Go module with this machine's own Go, and the archive that a release of it would be."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tarfile
from pathlib import Path

from .images import bootstrap
from .paths import CACHE
from .shell import run

VERSION = "0.13.5"
MODULE = "github.com/ollama/ollama"
ROOT = CACHE / "ollama" / VERSION
PROGRAM = ROOT / "ollama"
ARCHIVE = ROOT / f"ollama-linux-{VERSION}.tgz"
CHECKSUM = ARCHIVE.with_suffix(".tgz.sha256")
# headers that the module's C++ parts want and its zip lacks
HEADERS = ("nlohmann-json3-dev", "libstb-dev", "libminiaudio-dev")


def missing() -> str:
    """Why there is none on this machine, and none can be built; empty where there is or can."""
    lacking = [program for program in ("go", "g++") if not shutil.which(program)]
    return f"Ollama is built with {' and '.join(lacking)}, which this machine lacks" if lacking and not ARCHIVE.exists() else ""


def ensure() -> Path:
    """Have program and archive in the cache; returns the archive. The first call takes minutes."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PROGRAM.exists():
            build(ROOT / "build")
        if not ARCHIVE.exists():
            pack(ARCHIVE.with_suffix(".partial"))
            CHECKSUM.write_text(hashlib.sha256(ARCHIVE.read_bytes()).hexdigest())
    return ARCHIVE


def build(folder: Path) -> None:
    """What an interrupted build has fetched and compiled is kept for the next one."""
    folder.mkdir(exist_ok=True)
    shutil.rmtree(folder / "headers", ignore_errors=True)
    bootstrap("trixie", HEADERS, folder / "headers", variant="extract")
    include = folder / "headers" / "usr" / "include"
    (include / "miniaudio").mkdir(exist_ok=True)
    (include / "miniaudio" / "miniaudio.h").symlink_to("../miniaudio.h")
    places = {"GOPATH": folder / "go", "GOCACHE": folder / "cache", "GOBIN": folder / "bin"}
    # the tests' model is tiny: what an optimising compiler takes longer is never won back
    flags = {"CGO_CPPFLAGS": f"-I{include}", "CGO_CFLAGS": "-O0", "CGO_CXXFLAGS": "-O0", "CGO_ENABLED": "1"}
    environment = {**os.environ, **{name: str(path) for name, path in places.items()}, **flags}
    version = f"-s -w -X {MODULE}/version.Version={VERSION}"
    run("nice", "go", "install", "-modcacherw", "-ldflags", version, f"{MODULE}@v{VERSION}", env=environment, timeout=5400)
    (folder / "bin" / "ollama").rename(PROGRAM)
    shutil.rmtree(folder)


def pack(partial: Path) -> None:
    """The same layout as a release's: the program, and libraries of back ends, of which this one has none."""
    with tarfile.open(partial, "w:gz", compresslevel=1) as archive:
        archive.add(PROGRAM, "./bin/ollama")
        for name in ("./lib", "./lib/ollama"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
    partial.rename(ARCHIVE)


if __name__ == "__main__":
    print(ensure())
