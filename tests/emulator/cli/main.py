# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""openshell: finds the command, runs it, shows how it ended."""

from __future__ import annotations

import importlib
import os
import sys

from ..errors import Failure, NotRecorded, Refusal
from . import clap, registration, render
from .client import Client

# The module of each group; a command is the function of its module named as its words, joined by `_`.
MODULES = {
    "status": "gateway",
    "whoami": "gateway",
    "doctor": "gateway",
    "gateway": "gateway",
    "sandbox": "sandbox",
    "provider": "provider",
    "inference": "inference",
    "policy": "policy",
    "settings": "settings",
    "forward": "forward",
    "service": "forward",
    "logs": "logs",
    "ssh-proxy": "forward",
    "workspace": "gateway",
}


class Context:
    """What a command works with: its arguments, the gateway, the path of this program."""

    def __init__(self, args, path):
        self.args, self.path = args, path
        self._target = self._client = None

    @property
    def target(self):
        if self._target is None:
            self._target = registration.target(self.args)
        return self._target

    @property
    def client(self):
        if self._client is None:
            self._client = Client(self.target)
        return self._client

    def call(self, name, /, **args):
        return self.client.call(name, workspace=self.args.workspace, **args)

    def sandbox_name(self, given):
        """The name given, else the one last used on this gateway."""
        if given:
            return given
        last = registration.last_sandbox(self.target.name, self.args.workspace)
        if not last:
            raise Failure(
                "No sandbox name provided and no last-used sandbox.\nSpecify a sandbox name or connect to one first: openshell sandbox connect <name>"
            )
        print(f"{render.bold('→')} Using sandbox '{render.bold(last)}' (last used)", file=sys.stderr)
        return last


def run(words, path):
    command, args = clap.parse("openshell", words)
    module = MODULES.get(command[1]) if len(command) > 1 else None
    name = "_".join(command[1:]).replace("-", "_")
    function = getattr(importlib.import_module(f"{__package__}.{module}"), name, None) if module else None
    if function is None:
        raise NotRecorded(" ".join(command))
    return function(Context(args, path)) or 0


def main(words, path):
    try:
        code = run(words, path)
        sys.stdout.flush()
        return code
    except clap.Usage as usage:
        sys.stderr.write(str(usage))
        return 2
    except Failure as failure:
        render.error(failure.message, failure.causes)
        return 1
    except Refusal as refusal:
        render.error(str(refusal))
        return 1
    except NotRecorded as refusal:
        sys.stdout.flush()
        print(refusal, file=sys.stderr)
        return 70
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
