# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for the three OpenShell programs, and the replay that holds them to what the real ones answered."""

import os

RECORDED = "0.0.106"
VERSION = os.environ.get("OPENSHELL_EMULATOR_VERSION", RECORDED)  # what it calls itself, to be another version in a test of upgrades
