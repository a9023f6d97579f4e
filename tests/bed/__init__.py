# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test bed: containers that are hosts, each with systemd, sshd and a Docker engine of its own."""
