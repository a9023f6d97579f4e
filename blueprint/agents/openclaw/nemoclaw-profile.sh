# shellcheck shell=sh
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Every command in the sandbox is run by a login shell: this gives it the agent's environment, so that the agent, its
# verification and a person at a prompt see the same.
if [ -r /sandbox/.nemoclaw/env ]; then
    set -a
    # shellcheck source=/dev/null
    . /sandbox/.nemoclaw/env
    set +a
fi
