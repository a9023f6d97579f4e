#!/bin/sh
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap customize hook: makes the tree in $1 a sandbox base image.
set -eu
chroot "$1" useradd --create-home --home-dir /sandbox --shell /bin/bash --uid 1000 sandbox
