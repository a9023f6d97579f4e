# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie on the machine that runs the test bed."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TESTS = CHECKOUT / "tests"
RECIPES = Path(__file__).resolve().parent / "recipes"
NVIDIA = Path(__file__).resolve().parent / "nvidia"
CACHE = Path(os.environ.get("NEMOCLAW_CACHE") or Path.home() / ".cache" / "nemoclaw-fleet")
IMAGES = CACHE / "images"
LLAMA = CACHE / "llama-server"
NGINX = CACHE / "nginx"
SSH_KEY = CACHE / "ssh" / "id_ed25519"
