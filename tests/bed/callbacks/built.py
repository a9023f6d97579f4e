# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback that has runs share the modules that they send: a run packs each of its modules anew, which is a third of the controller's work."""

from __future__ import annotations

import os

from ansible import constants
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: built
type: aggregate
short_description: Shares packed modules among runs
description: For tests; the directory is named by the environment variable E(BUILT_MODULES), nothing is shared where that is empty.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "built"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        if shared := os.environ.get("BUILT_MODULES"):
            os.makedirs(shared, exist_ok=True)
            os.symlink(shared, os.path.join(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache"))
