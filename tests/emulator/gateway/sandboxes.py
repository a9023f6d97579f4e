# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox's life: created, read, stopped, started, deleted; its logs and exposed services."""

from __future__ import annotations

import random
import secrets
import threading
import time
import uuid

from ..errors import Refusal, invalid, missing, precondition
from ..policy import rules
from . import checks, effective
from .core import call, now_ms, stamp
from .driver import Broken
from .providers import attachable
from .sessions import add_revision

FIRST = (
    "amber",
    "brisk",
    "calm",
    "eager",
    "fair",
    "gentle",
    "happy",
    "jolly",
    "keen",
    "lucky",
    "merry",
    "noble",
    "quick",
    "rapid",
    "sunny",
    "witty",
)
SECOND = (
    "badger",
    "crane",
    "dove",
    "finch",
    "gecko",
    "heron",
    "ibis",
    "koala",
    "lemur",
    "mole",
    "otter",
    "panda",
    "quail",
    "raven",
    "seal",
    "wren",
)
LIFECYCLE_SECONDS = 300


def shown(sandbox):
    return {
        "id": sandbox["id"],
        "name": sandbox["name"],
        "workspace": sandbox["workspace"],
        "labels": sandbox["labels"],
        "annotations": {},
        "resource_version": sandbox["resource_version"],
        "created_at": stamp(sandbox["created_ms"]),
        "phase": sandbox["phase"],
        "current_policy_version": sandbox["active_version"],
    }


@call("sandbox.create")
def create(gateway, args):
    checks.workspace(gateway, args["workspace"])
    spec = {
        "image": args["image"] or gateway.driver.config.get("default_image", ""),
        "environment": args["environment"],
        "providers": args["providers"],
        "policy": args["policy"],
        "gpu": args["gpu"],
        "nano_cpus": args["nano_cpus"],
        "memory_bytes": args["memory_bytes"],
        "driver_config": args["driver_config"],
    }
    checks.name(args["name"])
    if len(spec["providers"]) > checks.MAX_PROVIDERS:
        raise invalid(f"providers list exceeds maximum ({len(spec['providers'])} > {checks.MAX_PROVIDERS})")
    checks.environment(spec["environment"])
    checks.labels(args["labels"])
    for name in spec["providers"]:
        attachable(gateway, name, args["workspace"])
    if spec["policy"]:
        rules.check_size(spec["policy"])
        rules.check(spec["policy"])
        rules.check_endpoints(spec["policy"], spec["providers"])
        rules.normalized(spec["policy"])
    gateway.driver.check(spec)
    with gateway.lock:
        taken = {one["name"] for one in gateway.sandboxes() if one["workspace"] == args["workspace"]}
        name = args["name"] or next(name for name in iter(_made_up, None) if name not in taken)
        if name in taken:
            raise checks.exists(f"sandbox '{name}' already exists")
        sandbox = {
            "id": str(uuid.uuid4()),
            "name": name,
            "workspace": args["workspace"],
            "labels": args["labels"],
            "resource_version": 1,
            "created_ms": now_ms(),
            "phase": "Provisioning",
            "error": None,
            "spec": spec,
            "revisions": [],
            "active_version": 0,
            "settings": {"values": {}, "revision": 0},
            "token": secrets.token_hex(32),
            "signer": gateway.signer,
        }
        if spec["policy"]:
            add_revision(sandbox, spec["policy"])
        gateway.store.put("sandbox", sandbox["id"], sandbox)
        gateway.busy.add(sandbox["id"])
    threading.Thread(target=_provision, args=(gateway, sandbox), daemon=True).start()
    return shown(sandbox)


def _made_up():
    return f"{random.choice(FIRST)}-{random.choice(SECOND)}"


def _provision(gateway, sandbox):
    def note(text):
        gateway.log(sandbox["id"], "openshell_server::compute", text, source="progress")

    try:
        note("Sandbox allocated")
        gateway.driver.create(sandbox, sandbox["token"], note)
        note("Starting sandbox Waiting for supervisor relay")
    except Broken as broken:
        gateway.change(sandbox["id"], phase="Error", error=str(broken))
    except Exception as error:  # whatever the engine says belongs into the sandbox's record
        gateway.change(sandbox["id"], phase="Error", error=f"ContainerCreateFailed: {error}")
    finally:
        gateway.busy.discard(sandbox["id"])
        if gateway.by_id(sandbox["id"]) is None:
            gateway.driver.remove(sandbox)
    gateway.watch.sweep()


@call("sandbox.watch")
def watch(gateway, args):
    """The sandbox as it comes up: its JSON, progress since `seen` lines, and the error of a failed provisioning."""
    sandbox = gateway.by_id(args["id"])
    if not sandbox:
        raise missing("sandbox not found")
    lines = [line["text"] for line in gateway.logs[args["id"]] if line["source"] == "progress"]
    return {"sandbox": shown(sandbox), "error": sandbox["error"], "progress": lines[args["seen"] :]}


@call("sandbox.get")
def get(gateway, args):
    checks.workspace(gateway, args["workspace"])
    sandbox = gateway.sandbox(args["name"], args["workspace"])
    policy = effective.composed(gateway, sandbox, effective.base_policy(gateway, sandbox))
    revision = sandbox["revisions"][-1]["version"] if sandbox["revisions"] else None
    return {**shown(sandbox), "policy_source": "global" if gateway.global_policy() else "sandbox", "revision": revision, "policy": policy}


@call("sandbox.list")
def list_sandboxes(gateway, args):
    if not args.get("all_workspaces"):
        checks.workspace(gateway, args["workspace"])
    wanted = checks.selector(args["selector"] or "")
    found = [
        shown(one)
        for one in gateway.sandboxes()
        if (args.get("all_workspaces") or one["workspace"] == args["workspace"]) and all(one["labels"].get(key) == value for key, value in wanted.items())
    ]
    return found[args["offset"] : args["offset"] + args["limit"]]


@call("sandbox.delete")
def delete(gateway, args):
    checks.workspace(gateway, args["workspace"])
    with gateway.lock:
        sandbox = gateway.sandbox(args["name"], args["workspace"])
        gateway.busy.add(sandbox["id"])
        gateway.change(sandbox["id"], phase="Deleting")
    gateway.driver.remove(sandbox)
    with gateway.lock:
        gateway.store.delete("sandbox", sandbox["id"])
        gateway.logs.pop(sandbox["id"], None)
        gateway.busy.discard(sandbox["id"])
        for service in gateway.store.all("service"):
            if service["sandbox"] == sandbox["name"] and service["workspace"] == args["workspace"]:
                gateway.store.delete("service", service["key"])
    return {}


@call("sandbox.stop")
def stop(gateway, args):
    checks.workspace(gateway, args["workspace"])
    sandbox = gateway.sandbox(args["name"], args["workspace"])
    if sandbox["phase"] == "Stopped":
        return {}
    if sandbox["phase"] != "Ready":
        raise precondition(f"sandbox must be Ready to stop (current phase: {sandbox['phase']})")
    gateway.busy.add(sandbox["id"])
    try:
        gateway.change(sandbox["id"], phase="Stopping")
        gateway.driver.stop(sandbox)
        gateway.change(sandbox["id"], phase="Stopped")
    finally:
        gateway.busy.discard(sandbox["id"])
    return {}


@call("sandbox.start")
def start(gateway, args):
    checks.workspace(gateway, args["workspace"])
    sandbox = gateway.sandbox(args["name"], args["workspace"])
    if sandbox["phase"] == "Ready":
        return {}
    if sandbox["phase"] != "Stopped":
        raise precondition(f"sandbox must be Stopped to start (current phase: {sandbox['phase']})")
    gateway.busy.add(sandbox["id"])
    try:
        gateway.change(sandbox["id"], phase="Starting")
        if not gateway.driver.start(sandbox):
            raise missing("sandbox not found")
    finally:
        gateway.busy.discard(sandbox["id"])
    gateway.watch.sweep()
    deadline = time.monotonic() + LIFECYCLE_SECONDS
    while time.monotonic() < deadline:
        now = gateway.by_id(sandbox["id"])
        if now is None:
            raise missing("sandbox not found")
        if now["phase"] == "Ready":
            return {}
        if now["phase"] == "Error":
            raise Refusal("FAILED_PRECONDITION", "sandbox entered Error while waiting for Ready")
        time.sleep(0.05)
    raise Refusal("UNAVAILABLE", f"timed out after {LIFECYCLE_SECONDS}s waiting for sandbox to reach Ready")


@call("sandbox.logs")
def logs(gateway, args):
    """The newest `lines` of the buffer; only then filtered by source, level and age, as the real gateway does."""
    checks.workspace(gateway, args["workspace"])
    sandbox = gateway.sandbox(args["name"], args["workspace"])
    buffer = [line for line in gateway.logs[sandbox["id"]] if line["source"] != "progress"]
    newest = buffer[-args["lines"] :] if args["lines"] else []
    levels = ("error", "warn", "info", "debug", "trace")
    limit = levels.index(args["level"].lower()) if (args["level"] or "").lower() in levels else len(levels)
    kept = [
        line
        for line in newest
        if (not args["sources"] or "all" in args["sources"] or line["source"] in args["sources"])
        and (not args["level"] or (levels.index(line["level"].lower()) if line["level"].lower() in levels else 2) <= limit)
        and line["at"] >= (time.time() - args["since"] if args["since"] else 0)
    ]
    return {"lines": kept, "buffered": len(newest)}


# -- services -------------------------------------------------------------------------------------------------------------------------


def _service_key(args):
    return f"{args['workspace']}/{args['sandbox']}/{args['service'] or ''}"


def _url(gateway, service):
    host = f"{service['workspace']}--{service['sandbox']}" + (f"--{service['service']}" if service["service"] else "")
    return {**service, "url": f"http://{host}.openshell.localhost:{gateway.port}/"}


@call("service.expose")
def expose(gateway, args):
    checks.workspace(gateway, args["workspace"])
    gateway.sandbox(args["sandbox"], args["workspace"])
    service = {
        "key": _service_key(args),
        "workspace": args["workspace"],
        "sandbox": args["sandbox"],
        "service": args["service"],
        "port": args["port"],
    }
    gateway.store.put("service", service["key"], service)
    return _url(gateway, service)


@call("service.list")
def list_services(gateway, args):
    checks.workspace(gateway, args["workspace"])
    return [_url(gateway, one) for one in gateway.store.all("service") if one["workspace"] == args["workspace"] and args["sandbox"] in (None, one["sandbox"])]


@call("service.get")
def get_service(gateway, args):
    checks.workspace(gateway, args["workspace"])
    service = gateway.store.get("service", _service_key(args))
    if not service:
        raise missing("service endpoint not found")
    return _url(gateway, service)


@call("service.delete")
def delete_service(gateway, args):
    checks.workspace(gateway, args["workspace"])
    if not gateway.store.delete("service", _service_key(args)):
        raise missing("service endpoint not found")
    return {}
