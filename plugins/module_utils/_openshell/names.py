# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of what is made on a host for a gateway; each carries the gateway's name, so that several can live on one host. Pure; private to the collection."""

from __future__ import annotations


def unit_name(gateway: str, kind: str, of: str = "") -> str:
    """C(nemoclaw-gateway.service), C(nemoclaw-agent@NAME.service) or C(nemoclaw-forward@NAME-PORT.service) of a gateway called nemoclaw."""
    return f"{gateway}-{kind}@{of}.service" if of else f"{gateway}-{kind}.service"
