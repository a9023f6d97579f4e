# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`sandbox …`: create, read, run, copy, stop, start, delete."""

from __future__ import annotations

import json
import os
import re
import sys
import time

from ..errors import Failure, NotRecorded, Refusal
from . import registration, render
from .output import print_policy, shown
from .streams import run

KEYWORDS = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "ACCESS_KEY", "SECRET_KEY", "API_KEY")
PHASE_COLOUR = {"Ready": render.green, "Error": render.red, "Provisioning": render.yellow}
PROVISION_SECONDS = 300


# -- create ---------------------------------------------------------------------------------------------------------------------------


def sandbox_create(context):
    args, client = context.args, _client_for_create(context)
    _refuse_untried(args)
    image = _image(args.__getattr__("from"))
    environment = _environment(args.env)
    labels = _labels(args.label)
    _warn_of_credentials(environment, args.no_credential_warnings)
    request = {"name": args.name or "", "image": image, "environment": environment, "labels": labels, "workspace": args.workspace}
    request["providers"] = _providers(client, args)
    request["policy"] = _policy(args.policy)
    request.update(_resources(args))
    request["driver_config"] = _driver_config(args.driver_config_json)
    try:
        sandbox = client.call("sandbox.create", **request)
    except Refusal as refusal:
        if refusal.code == "ALREADY_EXISTS":
            raise Failure(f"{refusal.message}\n\nhint: delete it first with: openshell sandbox delete <name>\n      or use a different name") from None
        raise
    if not args.no_keep:
        registration.remember_sandbox(context.target.name, args.workspace, sandbox["name"])
    structured = args.output in ("json", "yaml")
    sandbox = _wait_ready(client, sandbox, args.workspace, structured)
    if shown(args.output, sandbox):
        return 0
    return _first_command(context, sandbox["name"])


def _client_for_create(context):
    from .client import Unreachable

    client = context.client
    try:
        client.connect().close()
    except Unreachable as error:
        target = context.target
        raise Failure(
            f"failed to connect to gateway '{target.name}' at {target.endpoint}. Start the gateway service with the installed package manager, "
            "or register a different endpoint with `openshell gateway add <endpoint>`.",
            "transport error",
            error.causes[0],
            *error.causes,
        ) from None
    return client


def _refuse_untried(args):
    for flag in ("editor", "upload", "forward", "tty", "auto_providers"):
        if args.get(flag):
            raise NotRecorded(f"sandbox create --{flag.replace('_', '-')}")
    if args.approval_mode != "manual":
        raise NotRecorded(f"sandbox create --approval-mode {args.approval_mode}")


def _image(source):
    if source is None:
        return None
    if os.path.exists(source):
        raise NotRecorded(f"sandbox create --from {source} (a path: an image built by openshell)")
    if not re.search(r"[/:.]", source):
        raise NotRecorded(f"sandbox create --from {source} (a community sandbox)")
    return source


def _environment(texts):
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise Failure(f"--env expects KEY=VALUE, got '{text}'")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise Failure(f"--env key must match [A-Za-z_][A-Za-z0-9_]*; got '{key}'")
        if key.startswith("OPENSHELL_"):
            raise Failure(f"--env keys starting with OPENSHELL_ are reserved; got '{key}'")
        found[key] = value
    return found


def _labels(texts):
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise Failure(f"invalid label format '{text}', expected key=value")
        found[key] = value
    return found


def _warn_of_credentials(environment, suppressed):
    for key in sorted(environment):
        segments = key.upper().split("_")
        windows = {"_".join(segments[i:j]) for i in range(len(segments)) for j in range(i + 1, len(segments) + 1)}
        if suppressed or not windows & set(KEYWORDS):
            continue
        print(
            f"{render.yellow('⚠')} {key} looks like a credential passed as a plain environment variable.\n"
            "  The agent inside the sandbox can read this value directly.\n\n"
            "  To hide it from the agent, use a provider instead of --env.\n"
            "  See: https://docs.nvidia.com/openshell/latest/sandboxes/providers-v2\n",
            file=sys.stderr,
        )


def _providers(client, args):
    if not args.provider:
        return []
    known = {one["name"] for one in client.call("provider.list", workspace=args.workspace, offset=0, limit=1000)}
    for name in args.provider:
        if name in known:
            continue
        kind = client.call("provider.type", workspace=args.workspace, type=name)["type"]
        if not kind or args.no_auto_providers:
            raise Failure(
                f"provider '{name}' not found and '{name}' is not a recognized provider type. Create it first with "
                f"`openshell provider create --type <type> --name {name}`"
            )
        print(f"Missing provider: {kind}", file=sys.stderr)
        raise Failure(
            f"missing required provider '{kind}'. Create it first with `openshell provider create --type {kind} --name {kind} "
            "--from-existing`, pass --auto-providers to auto-create, or set it up manually from inside the sandbox"
        )
    return list(dict.fromkeys(args.provider))


def _policy(path):
    from .policy import policy_file

    path = path or os.environ.get("OPENSHELL_SANDBOX_POLICY")
    return policy_file(path) if path else None


def _resources(args):
    from ..units import bytes_of, cpus

    found = {"gpu": None, "nano_cpus": None, "memory_bytes": None}
    if args.gpu is not None:
        found["gpu"] = int(args.gpu) if args.gpu else 0
    for flag in ("cpu", "memory"):
        if args.get(flag) is not None and re.fullmatch(r"0+(\.0+)?[A-Za-z]*", args.get(flag)):
            raise Failure(f"--{flag} must be greater than zero")
    if args.cpu is not None:
        found["nano_cpus"] = cpus(args.cpu)
        if not found["nano_cpus"]:
            raise Failure(f"invalid --cpu value '{args.cpu}': expected positive cores or millicores, for example 2, 0.5, or 500m")
    if args.memory is not None:
        found["memory_bytes"] = bytes_of(args.memory)
        if not found["memory_bytes"]:
            raise Failure(f"invalid --memory value '{args.memory}': expected positive bytes or a quantity such as 512Mi, 4Gi, or 8G")
    return found


def _driver_config(text):
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        raise Failure("--driver-config-json must be valid JSON", _json_fault(text)) from None
    if not isinstance(found, dict):
        raise Failure("--driver-config-json must be a JSON object keyed by driver name")
    return found


def _json_fault(text):
    """serde_json's words for the faults that were recorded."""
    for word in ("null", "true", "false"):
        if text[:1] == word[0] and not text.startswith(word):
            wrong = next(i for i in range(1, len(word) + 1) if text[i : i + 1] != word[i : i + 1])
            return f"expected ident at line 1 column {wrong + 1}"
    return "expected value at line 1 column 1" if text.strip()[:1] not in '{["' else "EOF while parsing an object at line 1 column " + str(len(text))


def _wait_ready(client, sandbox, workspace, structured):
    if structured:
        print("Provisioning sandbox (structured output on stdout)...", file=sys.stderr)
    else:
        print(f"\n{render.heading('Created sandbox:')} {render.bold(sandbox['name'])}\n")
        print(f"  {render.dim('[0.0s]')} Requesting compute...", flush=True)
    begin, seen = time.monotonic(), 0
    idle = begin
    limit = int(os.environ.get("OPENSHELL_PROVISION_TIMEOUT") or PROVISION_SECONDS)
    while True:
        now = client.call("sandbox.watch", workspace=workspace, id=sandbox["id"], seen=seen)
        for text in now["progress"]:
            if not structured:
                stamp = f"[{time.monotonic() - begin:.1f}s]"
                print(f"{render.dim(stamp)} {text}", flush=True)
            idle = time.monotonic()
        seen += len(now["progress"])
        if now["sandbox"]["phase"] == "Ready":
            return now["sandbox"]
        if now["sandbox"]["phase"] == "Error":
            raise Failure(f"sandbox entered error phase while provisioning: {now['error'] or 'the container ended'}")
        if time.monotonic() - idle > limit:
            raise Failure(f"sandbox provisioning timed out after {limit}s")
        time.sleep(0.03)


def _first_command(context, name):
    """The trailing command of `create`, over what is ssh in the real program; without one the real program opens a shell and never returns."""
    args = context.args
    if not args.command:
        if sys.stdin.isatty():
            raise NotRecorded("sandbox create with an interactive shell")
        sys.stdout.write("\x1b[?2004h\x1b[K\r")
        sys.stdout.flush()
        while True:
            time.sleep(3600)
    code = run(context.client, workspace=args.workspace, sandbox=name, command=list(args.command), stdin=b"")
    if (code == 0 or args.no_keep) and args.no_keep:
        context.call("sandbox.delete", name=name)
        render.done(f"Deleted sandbox {name}")
    if code:
        raise Failure(f"ssh exited with status exit status: {code}")
    return 0


# -- read -----------------------------------------------------------------------------------------------------------------------------


def sandbox_get(context):
    from ..policy.schema import to_yaml

    args = context.args
    found = context.call("sandbox.get", name=context.sandbox_name(args.name))
    if args.policy_only:
        print(to_yaml(found["policy"]))
        return
    if shown(args.output, found):
        return
    fields = [("Id", found["id"]), ("Name", found["name"]), ("Phase", found["phase"]), ("Resource version", found["resource_version"])]
    render.block("Sandbox:", fields)
    if found["labels"]:
        print(f"  {render.dim('Labels:')} ")
        for key, value in sorted(found["labels"].items()):
            print(f"    {key}: {value}")
    print(render.field("Policy source", found["policy_source"]))
    if found["revision"]:
        print(render.field("Revision", found["revision"]))
    if found["policy"]:
        print()
        print_policy(found["policy"])


def sandbox_list(context):
    args = context.args
    found = context.call("sandbox.list", limit=int(args.limit), offset=int(args.offset), selector=args.selector, all_workspaces=bool(args.all_workspaces))
    if args.ids or args.names:
        for one in found:
            print(one["id"] if args.ids else f"{one['workspace']}/{one['name']}" if args.all_workspaces else one["name"])
        return
    if shown(args.output, found):
        return
    if not found:
        print("No sandboxes found.")
        return
    if args.all_workspaces:
        raise NotRecorded("sandbox list --all-workspaces as a table")
    rows = [(one["name"], one["created_at"], one["phase"]) for one in found]
    render.table(("NAME", "CREATED", "PHASE"), rows, lambda column, row: PHASE_COLOUR.get(row[2], render.dim) if column == 2 else None)


def sandbox_ssh_config(context):
    name = context.sandbox_name(context.args.name)
    workspace, gateway = context.args.workspace, context.target.name
    print(
        f"Host openshell-{name}.{workspace}\n    User sandbox\n    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n"
        "    GlobalKnownHostsFile /dev/null\n    LogLevel ERROR\n    ServerAliveInterval 15\n    ServerAliveCountMax 3\n"
        f"    ProxyCommand {context.path} ssh-proxy --gateway-name {gateway} --name {name} --workspace {workspace}"
    )


# -- state ----------------------------------------------------------------------------------------------------------------------------


def sandbox_delete(context):
    from .forward import stop_all

    args = context.args
    names = args.name
    if args.all:
        names = [one["name"] for one in context.call("sandbox.list", limit=1000, offset=0, selector="")]
        if not names:
            print("No sandboxes to delete.")
            return
    for name in names:
        for port in stop_all(name):
            render.done_aside(f"Stopped forward of port {port} for sandbox {name}")
        context.call("sandbox.delete", name=name)
        registration.forget_sandbox(context.target.name, args.workspace, name)
        render.done(f"Deleted sandbox {name}")
        sys.stdout.flush()


def sandbox_stop(context):
    from .forward import stop_all

    name = context.sandbox_name(context.args.name)
    for port in stop_all(name):
        render.done_aside(f"Stopped forward of port {port} for sandbox {name}")
    context.call("sandbox.stop", name=name)
    render.done(f"Stopped sandbox {name}")


def sandbox_start(context):
    name = context.sandbox_name(context.args.name)
    context.call("sandbox.start", name=name)
    render.done(f"Started sandbox {name}")


# -- run and copy ---------------------------------------------------------------------------------------------------------------------


def ready(context, name):
    """The sandbox when it is ready; raises Failure with its phase otherwise."""
    found = context.call("sandbox.get", name=name)
    if found["phase"] != "Ready":
        raise Failure(f"sandbox '{name}' is not ready (phase: {found['phase']}); wait for it to reach Ready state")
    return found


def sandbox_exec(context):
    args = context.args
    if args.tty:
        raise NotRecorded("sandbox exec --tty")
    name = context.sandbox_name(args.name)
    environment = _environment(args.env)
    ready(context, name)
    return run(
        context.client,
        workspace=args.workspace,
        sandbox=name,
        command=args.command,
        environment=environment,
        workdir=args.workdir,
        timeout=int(args.timeout or 0),
    )


def sandbox_upload(context):
    from .files import upload

    upload(context)


def sandbox_download(context):
    from .files import download

    download(context)


# -- providers ------------------------------------------------------------------------------------------------------------------------


def sandbox_provider_list(context):
    name = context.sandbox_name(context.args.name)
    found = context.call("sandbox.provider.list", sandbox=name)
    if not found:
        print(f"No providers attached to sandbox {name}.")
        return
    rows = [(one["name"], one["type"], str(len(one["credential_keys"])), str(len(one["config_keys"]))) for one in found]
    render.table(("NAME", "TYPE", "CREDENTIAL_KEYS", "CONFIG_KEYS"), rows)


def sandbox_provider_attach(context):
    name, provider = context.args.name, context.args.provider
    if context.call("sandbox.provider.attach", sandbox=name, provider=provider)["changed"]:
        render.done(f"Attached provider {provider} to sandbox {name}")
    else:
        print(f"Provider {provider} is already attached to sandbox {name}.")


def sandbox_provider_detach(context):
    name, provider = context.args.name, context.args.provider
    if context.call("sandbox.provider.detach", sandbox=name, provider=provider)["changed"]:
        render.done(f"Detached provider {provider} from sandbox {name}")
    else:
        print(f"Provider {provider} was not attached to sandbox {name}.")
