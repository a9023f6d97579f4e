# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts one of the three programs: launch.py NAME PATH-OF-THE-PROGRAM [ARGUMENT...]

The package may lie in a checkout (tests/emulator) or in a directory of any name, mounted read-only; so it is loaded under a name of
its own, and byte code that cannot be written beside it is kept under /tmp.
"""

import importlib.util
import os
import sys

HOME = os.path.dirname(os.path.realpath(__file__))
PACKAGE = "openshell_emulator"
PROGRAMS = {"openshell": "cli.main", "openshell-gateway": "gateway.main", "openshell-sandbox": "supervisor.main"}


def keep_byte_code():
    if os.access(HOME, os.W_OK):
        return
    cache = f"/tmp/.{PACKAGE}-{os.getuid()}"
    try:
        os.makedirs(cache, mode=0o700, exist_ok=True)
        if os.stat(cache).st_uid == os.getuid():
            sys.pycache_prefix = cache
    except OSError:
        pass


def main():
    program, path, *words = sys.argv[1:]
    keep_byte_code()
    spec = importlib.util.spec_from_file_location(PACKAGE, os.path.join(HOME, "__init__.py"), submodule_search_locations=[HOME])
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACKAGE])
    sys.exit(importlib.import_module(f"{PACKAGE}.{PROGRAMS[program]}").main(words, path))


main()
