# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands: argv lists, output captured, failures that say what failed."""

from __future__ import annotations

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


def docker(*argv, **options) -> str:
    """Run the docker client against this machine's engine; returns what it printed, stripped."""
    return run("docker", *argv, **options).stdout.strip()
