# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""In what two plans of the typical host differ."""

from __future__ import annotations

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.plan_changes import plan_changes
from tests.unit.test_plan import TYPICAL, plan

BEFORE = plan(TYPICAL)


def changes(**variables) -> list[str]:
    return plan_changes(BEFORE, plan({**TYPICAL, **variables}))


def test_the_same_variables():
    assert changes() == []


def test_a_port():
    assert 'gateway.endpoint: "https://127.0.0.1:18080" -> "https://127.0.0.1:18090"' in changes(
        nemoclaw_gateway={**TYPICAL["nemoclaw_gateway"], "port": 18090}
    )


def test_a_sandbox_is_the_one_of_its_name():
    """A limit of the second one; then the first one is no longer there."""
    first, second, *others = TYPICAL["nemoclaw_sandboxes"]
    changed = changes(nemoclaw_sandboxes=[first, {**second, "memory": "7Gi"}, *others])
    assert changed == [f'sandboxes[{second["name"]}].create.memory: "4Gi" -> "7Gi"']
    gone = changes(nemoclaw_sandboxes=[second, *others])
    assert [line.partition(":")[0] for line in gone] == [f"sandboxes[{first['name']}]"]


def test_of_a_text_the_line_that_differs():
    def said(text: str) -> list[str]:
        return plan_changes({"units": [{"name": "a", "content": "[Unit]\nAfter=b\n[Service]\n"}]}, {"units": [{"name": "a", "content": text}]})

    assert said("[Unit]\nAfter=c\n[Service]\n") == ['units[a].content: "After=b" -> "After=c"']
    assert said("[Unit]\nAfter=b\n") == ['units[a].content: "[Service]" -> ""']
