#!/usr/bin/env python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory of a scenario: the hosts of its own bed."""

import json
import os

from tests.bed.hosts import Bed
from tests.bed.play import inventory

ALONE = ("proxy",)  # scenarios that need no second host

scenario = os.environ["MOLECULE_SCENARIO_NAME"]
listing = inventory(Bed(f"molecule-{scenario}", 1 if scenario in ALONE else 2), {})["all"]
print(json.dumps({"all": {"hosts": [*listing["hosts"]], "vars": listing["vars"]}, "_meta": {"hostvars": listing["hosts"]}}))
