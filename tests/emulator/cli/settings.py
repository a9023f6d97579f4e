# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`settings …`: of one sandbox or of the gateway."""

from __future__ import annotations

from ..errors import Failure
from . import render

KINDS = {
    "providers_v2_enabled": "bool",
    "ocsf_json_enabled": "bool",
    "agent_policy_proposals_enabled": "bool",
    "proposal_approval_mode": "string",
}
BOOLEANS = {"true": "true", "yes": "true", "1": "true", "false": "false", "no": "false", "0": "false"}


def settings_get(context):
    args = context.args
    name = None if getattr(args, "global") else context.sandbox_name(args.name)
    found = context.call("settings.get", name=name, **{"global": bool(getattr(args, "global"))})
    if args.json:
        render.dump(found)
        return
    if name is None:
        print(f"Scope:         global\nSettings Rev:  {found['settings_revision']}\nSettings:")
        for key, value in sorted(found["settings"].items()):
            print(f"  {key} = {value}")
        return
    print(
        f"Sandbox:       {found['sandbox']}\nConfig Rev:    {found['config_revision']}\nPolicy Source: {found['policy_source']}\n"
        f"Policy Hash:   {found['policy_hash']}\nSettings:"
    )
    for key, entry in sorted(found["settings"].items()):
        print(f"  {key} = {entry['value']} ({entry['scope']})")


def _checked(key, value):
    if key not in KINDS:
        raise Failure(f"unknown setting key '{key}'. Allowed keys: {', '.join(KINDS)}")
    if KINDS[key] == "bool":
        if value.lower() not in BOOLEANS:
            raise Failure(f"invalid bool value '{value}' for key '{key}'; expected one of: true,false,yes,no,1,0")
        return BOOLEANS[value.lower()]
    if key == "proposal_approval_mode" and value not in ("manual", "auto"):
        raise Failure(f"invalid value '{value}' for key '{key}'; expected one of: manual, auto")
    return value


def settings_set(context):
    args = context.args
    everywhere = bool(getattr(args, "global"))
    value = _checked(args.key, args.value)
    if everywhere and not args.yes:
        raise Failure("global setting updates require confirmation; pass --yes in non-interactive mode")
    name = None if everywhere else context.sandbox_name(args.name)
    revision = context.call("settings.set", name=name, key=args.key, value=value, **{"global": everywhere})["revision"]
    if everywhere:
        render.done(f"Set global setting {args.key}={args.value} (revision {revision})")
    else:
        render.done(f"Set sandbox setting {args.key}={args.value} for {name} (revision {revision})")


def settings_delete(context):
    args = context.args
    everywhere = bool(getattr(args, "global"))
    if everywhere and not args.yes:
        raise Failure("global setting deletes require confirmation; pass --yes in non-interactive mode")
    name = None if everywhere else context.sandbox_name(args.name)
    found = context.call("settings.delete", name=name, key=args.key, **{"global": everywhere})
    if everywhere:
        if found["deleted"]:
            render.done(f"Deleted global setting {args.key} (revision {found['revision']})")
        else:
            render.warn(f"Global setting {args.key} not found")
    elif found["deleted"]:
        render.done(f"Deleted sandbox setting {args.key} for {name} (revision {found['revision']})")
    else:
        render.warn(f"Sandbox setting {args.key} not found for {name}")
