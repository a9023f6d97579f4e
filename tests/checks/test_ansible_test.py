# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-test sanity` with every supported ansible-core that one of this machine's Pythons can run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bed.paths import CACHE

SANITY = CACHE / "sanity"
# ansible-core, and the Pythons its ansible-test runs on
CORES = {"2.19": ("3.11", "3.12", "3.13"), "2.20": ("3.12", "3.13", "3.14"), "2.21": ("3.13", "3.12", "3.14")}

GET_PIP = '''"""Runs pip out of the wheel beside this file; ansible-test would download such a script."""
import os, runpy, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "pip-{version}-py3-none-any.whl"))
sys.argv = ["pip", "install"] + [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
'''


def interpreter(version: str) -> Path | None:
    """A Python of that version which can make virtual environments; pyenv's are found also when its shims refuse them."""
    candidates = [shutil.which(f"python{version}"), *sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python{version}"))]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0:
            return Path(candidate)
    return None


def ansible_test(core: str, python: Path) -> tuple[Path, dict[str, str]]:
    """ansible-test of that core in a virtual environment of the cache, with a home of its own; returns the program and its environment."""
    venv = SANITY / f"core-{core}-{python.name}"
    if not (venv / ".complete").exists():
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([python, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", f"ansible-core=={core}.*"], check=True)
        (venv / ".complete").touch()
    home = SANITY / "home"
    pip_cache = home / ".ansible/test/cache"
    pip_cache.mkdir(parents=True, exist_ok=True)
    for settings in (".config/pip", ".pip", ".pip.conf"):  # the way out of this machine stays the same
        if (Path.home() / settings).exists() and not (home / settings).exists():
            (home / settings).parent.mkdir(parents=True, exist_ok=True)
            (home / settings).symlink_to(Path.home() / settings)
    requirements = next(venv.glob("lib/*/site-packages/ansible_test/_internal/python_requirements.py")).read_text()
    pip = re.search(r"pip='([\d.]+)'", requirements).group(1)
    stand_in = pip_cache / f"get_pip_{pip.replace('.', '_')}.py"
    if not stand_in.exists():
        subprocess.run([venv / "bin/pip", "download", "--quiet", "--no-deps", f"pip=={pip}", "-d", pip_cache], check=True)
        stand_in.write_text(GET_PIP.format(version=pip))
    path = f"{venv}/bin:{python.resolve().parent}:{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHON"))}
    return venv / "bin/ansible-test", {**environment, "HOME": str(home), "PATH": path}


@pytest.mark.parametrize("core", [pytest.param(core, marks=[pytest.mark.long] if core == "2.20" else []) for core in CORES])
def test_sanity(tree, core):
    python = next(filter(None, map(interpreter, CORES[core])), None)
    if python is None:
        pytest.skip(f"ansible-core {core} needs Python {' or '.join(CORES[core])}, and this machine has none of them")
    program, environment = ansible_test(core, python)
    version = python.name.removeprefix("python")
    done = subprocess.run(
        ["nice", program, "sanity", "--venv", "--python", version, "--color", "no", "--truncate", "0"],
        cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    problems = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("ERROR", "FATAL"))]
    assert done.returncode == 0, "\n".join(problems[-80:]) or done.stderr[-4000:]
