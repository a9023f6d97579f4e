# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands: argv lists, output captured, failures that say what failed."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess


class CommandFailed(RuntimeError):
    """A command ended with a status other than 0; the message holds the command and the end of what it said."""


def run(*argv, check=True, input=None, timeout=600, env=None) -> subprocess.CompletedProcess:
    """Run a command with captured text output and no stdin (or ``input``). Raises CommandFailed unless ``check`` is false."""
    stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=timeout, env=env, check=False, **stdin)
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(map(str, argv))}: status {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return done


@contextlib.contextmanager
def one_at_a_time(path):
    """For what several processes (pytest -n, another checkout) make at the path, each if it is not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def docker(*argv, **options) -> str:
    """Run the docker client against this machine's engine; returns what it printed, stripped."""
    return run("docker", *argv, **options).stdout.strip()
