# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for the three OpenShell programs, and the replay that holds them to what the real ones answered."""

VERSION = "0.0.106"
