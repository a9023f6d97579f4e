# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would change on a fleet is said once for all its hosts."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.nemoclaw.fleet.plugins.filter.by_change import by_change


def test_the_most_common_change_first():
    differences = {"h1": ["file/a content", "unit/b"], "h2": ["unit/b", "unit/b"], "h3": ["unit/b", "route"]}
    assert by_change(differences) == ["3 hosts (h1, h2, h3): unit/b", "1 host (h1): file/a content", "1 host (h3): route"]


def test_nothing_changes():
    assert by_change({"h1": [], "h2": []}) == []


def test_what_is_no_mapping():
    with pytest.raises(AnsibleFilterError, match="not list"):
        by_change(["h1"])
