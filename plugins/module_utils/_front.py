# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The front of every module that makes one resource, or a list of them, true. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError, ansible_diff

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def fail(module: AnsibleModule, error: ResourceError, **extra: t.Any) -> t.NoReturn:
    module.fail_json(msg=str(error), remedy=error.remedy, kind=getattr(error, "kind", "error"), **extra)


def converge(module: AnsibleModule, resources: t.Sequence[Resource], result: t.Callable[[], dict[str, t.Any]] | None = None) -> t.NoReturn:
    """Read, diff and (outside check mode) apply each resource in order, then exit with what changed.

    C(result) adds return values; it is called after everything was applied.
    """
    changed: list[Change] = []
    try:
        for resource in resources:
            state = resource.read()
            changes = resource.diff(state)
            if changes and not module.check_mode:
                resource.apply(state, changes)
            changed += changes
        extra = result() if result and not module.check_mode else {}
    except ResourceError as error:
        fail(module, error, changed=bool(changed), changes=[c.as_dict() for c in changed])
    module.exit_json(changed=bool(changed), changes=[c.as_dict() for c in changed], diff=ansible_diff(changed), **extra)
