# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`inference …`: the route behind inference.local."""

from __future__ import annotations

from ..errors import Failure, NotRecorded, Refusal, missing
from . import render


def _timeout(seconds):
    return "60s (default)" if not seconds else f"{seconds}s"


def _show(title, route):
    render.block(
        title,
        [
            ("Workspace", route["workspace"]),
            ("Route", route["route"]),
            ("Provider", route["provider"]),
            ("Model", route["model"]),
            ("Version", route["version"]),
            ("Timeout", _timeout(route["timeout"])),
        ],
    )
    if route["validated"]:
        print(f"  {render.dim('Validated Endpoints:')}")
        for one in route["validated"]:
            print(f"    - {one['url']} ({one['protocol']})")


def _bare(function):
    """Errors of these calls are shown without their code - but for what was not found on update."""
    try:
        return function()
    except Refusal as refusal:
        raise Failure(refusal.message) from None


def inference_set(context):
    args = context.args
    if args.system:
        raise NotRecorded("inference set --system")
    route = _bare(
        lambda: context.call(
            "inference.set",
            provider=args.provider,
            model=args.model,
            timeout=int(args.timeout or 0),
            no_verify=bool(args.no_verify),
            system=bool(args.system),
        )
    )
    _show("Inference configured:", route)


def inference_update(context):
    args = context.args
    if args.provider is None and args.model is None and args.timeout is None:
        raise Failure("at least one of --provider, --model, or --timeout must be specified")
    if args.system:
        raise NotRecorded("inference update --system")
    options = {
        "provider": args.provider,
        "model": args.model,
        "timeout": None if args.timeout is None else int(args.timeout),
        "no_verify": bool(args.no_verify),
        "system": False,
    }
    try:
        route = context.call("inference.update", **options)
    except Refusal as refusal:
        if refusal.code == "NOT_FOUND":
            raise
        raise Failure(refusal.message) from None
    _show("Inference updated:", route)


def inference_get(context):
    found = context.call("inference.get")
    parts = [("System inference", found["system"])] if context.args.system else [("Inference", found["user"]), ("System inference", found["system"])]
    for index, (title, route) in enumerate(parts):
        if index:
            print()
        if route:
            render.block(
                f"{title}:",
                [
                    ("Workspace", route["workspace"]),
                    ("Provider", route["provider"]),
                    ("Model", route["model"]),
                    ("Version", route["version"]),
                    ("Timeout", _timeout(route["timeout"])),
                ],
            )
        elif context.args.system:
            raise missing(
                f"inference route 'sandbox-system' is not configured in workspace '{context.args.workspace}'; "
                "run 'openshell inference set --provider <name> --model <id>'"
            )
        else:
            print(render.heading(f"{title}:") + "\n\n" + f"  {render.dim('Not configured')}")


def inference_delete(context):
    deleted = context.call("inference.delete", system=bool(context.args.system))["deleted"]
    label = "System inference route" if context.args.system else "Inference route"
    print(f"{label} deleted." if deleted else f"{label} not found (already deleted).")
