# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`policy …`: of one sandbox, or of the whole gateway."""

from __future__ import annotations

import sys
import time

from ..errors import Failure, NotRecorded, Refusal
from . import render
from .output import print_policy


def policy_file(path):
    """The canonical policy of a file; raises Failure as the real program words it."""
    from ..policy.schema import parse

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise Failure(f"failed to read sandbox policy from {path}", f"{error.strerror} (os error {error.errno})") from None
    return parse(text)


def _everywhere(args):
    return bool(getattr(args, "global"))


def _confirmed(args, what):
    if not args.yes:
        raise Failure(f"global setting {what} require confirmation; pass --yes in non-interactive mode")


def policy_set(context):
    args = context.args
    if _everywhere(args):
        if args.wait:
            raise NotRecorded("policy set --global --wait")
        _confirmed(args, "updates")
        found = context.call("policy.global.set", policy=policy_file(args.policy))
        render.done_aside(f"Global policy configured (hash: {found['hash'][:12]}, settings revision: {found['revision']})")
        return 0
    name = context.sandbox_name(args.name)
    return _submitted(context, name, context.call("policy.set", name=name, policy=policy_file(args.policy)))


def _submitted(context, name, found):
    version, digest = found["version"], found["hash"][:12]
    if not found["changed"]:
        print(f"{render.dim('·')} Policy unchanged (version {version}, hash: {digest})", file=sys.stderr)
        return 0
    render.done_aside(f"Policy version {version} submitted (hash: {digest})")
    return _wait(context, name, version) if context.args.wait else 0


def _wait(context, name, version):
    deadline = time.monotonic() + int(context.args.timeout)
    while True:
        time.sleep(min(1, max(deadline - time.monotonic(), 0)))
        now = context.call("policy.status", name=name, version=version)
        if now["status"] == "loaded":
            render.done_aside(f"Policy version {version} loaded (active version: {now['active_version']})")
            return 0
        if now["status"] == "failed":
            print(f"{render.bold_of(render.red, '✗')} Policy version {version} failed to load: {now['error']}", file=sys.stderr)
            return 1
        if now["status"] == "superseded":
            print(
                f"{render.bold_of(render.yellow, '⚠')} Policy version {version} was superseded (active version: {now['active_version']})",
                file=sys.stderr,
            )
            return 0
        if time.monotonic() >= deadline:
            print(f"{render.bold_of(render.red, '✗')} Timeout waiting for policy version {version} to load", file=sys.stderr)
            return 124


def policy_get(context):
    from ..policy.schema import to_yaml

    args = context.args
    payload = "full" if args.full else "base" if args.base else None
    if _everywhere(args):
        found = context.call("policy.global.get", rev=int(args.rev))
    else:
        name = context.sandbox_name(args.name)
        found = context.call("policy.get", name=name, rev=int(args.rev), payload=payload)
        if int(args.rev):
            found = {"scope": "sandbox", "sandbox": name, **found}
    policy = found.pop("policy", None)
    if args.output == "json":
        render.dump({**found, "policy": policy} if payload else found)
        return
    if "policy_source" not in found:
        _print_revision(found)
        if payload:
            print("---\n" + to_yaml(policy))
        return
    lines = [
        ("Version", found["version"]),
        ("Hash", found["hash"]),
        ("Status", "Effective"),
        ("Source", found["policy_source"]),
        ("Config rev", found["config_revision"]),
    ]
    if "global_policy_version" in found:
        lines.append(("Global", found["global_policy_version"]))
    for label, value in lines:
        print(f"{label + ':':<13} {value}")
    if payload:
        print("---\n" + to_yaml(policy))


def _print_revision(found):
    lines = [("Scope", "global")] if found["scope"] == "global" else []
    lines += [("Version", found["version"]), ("Hash", found["hash"]), ("Status", found["status"].capitalize())]
    lines += [("Active", found["active_version"])] if "active_version" in found else []
    lines += [(label, f"{found[key]} ms") for label, key in (("Created", "created_at_ms"), ("Loaded", "loaded_at_ms")) if found.get(key)]
    lines += [("Error", found["load_error"])] if found.get("load_error") else []
    for label, value in lines:
        print(f"{label + ':':<13} {value}")


def policy_list(context):
    args = context.args
    if _everywhere(args):
        found = context.call("policy.list", limit=int(args.limit), **{"global": True})
        if not found:
            print("No global policy history found", file=sys.stderr)
    else:
        name = context.sandbox_name(args.name)
        found = context.call("policy.list", name=name, limit=int(args.limit))
        if not found:
            print(f"No policy history found for sandbox '{name}'", file=sys.stderr)
    if found:
        print(f"{'VERSION':<8} {'HASH':<14} {'STATUS':<12} {'CREATED':<24} ERROR")
        for one in found:
            print(f"{one['version']:<8} {one['hash'][:12]:<14} {one['status'].capitalize():<12} {one['created_ms']:<24} {_short(one['error'] or '')}")


def _short(text):
    return text if len(text) <= 40 else text[:40] + "..."


def policy_update(context):
    from ..policy.merge import operations

    args = context.args
    wanted = operations(args.add_endpoint, args.remove_endpoint, args.add_allow, args.add_deny, args.remove_rule, args.binary, args.rule_name)
    if args.wait and args.dry_run:
        raise Failure("--wait cannot be combined with --dry-run")
    name = context.sandbox_name(args.name)
    try:
        found = context.call("policy.update", name=name, operations=wanted, dry_run=bool(args.dry_run))
    except Refusal as refusal:  # found by the command line itself in the real program
        if "was not found in the current policy" in refusal.message or "using `openshell policy update`" in refusal.message:
            raise Failure(refusal.message) from None
        raise
    for text in found["warnings"]:
        print(f"{render.bold_of(render.yellow, '!')} {text}", file=sys.stderr)
    if args.dry_run:
        render.done_aside(f"Dry run preview for {len(wanted)} incremental policy operation(s)")
        print_policy(found["policy"])
        return 0
    return _submitted(context, name, found)


def policy_delete(context):
    args = context.args
    if not _everywhere(args):
        raise NotRecorded("policy delete without --global")
    _confirmed(args, "deletes")
    found = context.call("policy.global.delete")
    if found["deleted"]:
        render.done(f"Deleted global setting policy (revision {found['revision']})")
    else:
        render.warn("Global setting policy not found")
