# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`provider …`: credentials and configuration by name; `provider profile …`: custom types."""

from __future__ import annotations

import os
import sys

from ..errors import Failure, NotRecorded
from . import render
from .output import pairs, shown


def _credentials(texts):
    """{key: value} of `KEY=VALUE`, or of `KEY` whose value is in the environment."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            value = os.environ.get(key, "")
            if not value:
                raise Failure(f"--credential {key} requires local env var '{key}' to be set to a non-empty value")
        found[key] = value
    return found


def provider_create(context):
    args = context.args
    if args.from_gcloud_adc or args.runtime_credentials or args.get("global_profile"):
        raise NotRecorded("provider create --from-gcloud-adc, --runtime-credentials or --global-profile")
    kind = context.call("provider.type", type=args.type)
    if not kind["type"]:
        raise Failure(f"unsupported provider type or profile: {args.type}")
    if args.from_existing:
        if kind["discovery"] is None:
            raise Failure(f"failed to discover existing provider data: unsupported provider type: {kind['type']}")
        credentials = {name: os.environ[name] for name in kind["discovery"] if os.environ.get(name)}
        if not credentials:
            raise Failure(f"no existing local credentials/config found for provider type '{kind['type']}'")
    else:
        credentials = _credentials(args.credential)
    provider = context.call("provider.create", name=args.name, type=kind["type"], credentials=credentials, config=pairs(args.config, "--config"))
    render.done(f"Created provider {provider['name']}")


def provider_get(context):
    found = context.call("provider.get", name=context.args.name)
    render.block(
        "Provider:",
        [
            ("Id", found["id"]),
            ("Name", found["name"]),
            ("Type", found["type"]),
            ("Resource version", found["resource_version"]),
            ("Credential keys", ", ".join(found["credential_keys"]) or "<none>"),
            ("Config keys", ", ".join(found["config_keys"]) or "<none>"),
        ],
    )


def provider_list(context):
    args = context.args
    found = context.call("provider.list", limit=int(args.limit), offset=int(args.offset), all_workspaces=bool(args.get("all_workspaces")))
    if args.names:
        for one in found:
            print(one["name"])
        return
    kept = ("id", "name", "workspace", "type", "credential_keys", "config_keys", "resource_version")
    if shown(args.output, [{key: one[key] for key in kept if key != "config_keys" or one[key]} for one in found]):
        return
    if not found:
        print("No providers found.")
        return
    rows = [(one["name"], one["type"], str(len(one["credential_keys"])), str(len(one["config_keys"]))) for one in found]
    render.table(("NAME", "TYPE", "CREDENTIAL_KEYS ", "CONFIG_KEYS"), rows)


def provider_update(context):
    args = context.args
    if args.from_existing or args.credential_expires_at:
        raise NotRecorded("provider update --from-existing or --credential-expires-at")
    context.call("provider.update", name=args.name, credentials=_credentials(args.credential), config=pairs(args.config, "--config"))
    render.done(f"Updated provider {args.name}")


def provider_delete(context):
    for name in context.args.name:
        if context.call("provider.delete", name=name)["deleted"]:
            render.done(f"Deleted provider {name}")
        else:
            render.warn(f"Provider {name} not found")
        sys.stdout.flush()


# -- profiles -------------------------------------------------------------------------------------------------------------------------

CATEGORIES = ("other", "inference", "agent", "source_control", "messaging", "data", "knowledge")
EXPORTED = (
    "id",
    "resource_version",
    "display_name",
    "description",
    "category",
    "credentials",
    "endpoints",
    "binaries",
    "inference_capable",
    "discovery",
    "source",
    "scope",
)


def provider_list_profiles(context):
    found = context.call("profile.list")
    if context.args.output != "table":
        raise NotRecorded("provider list-profiles -o json or yaml")
    names = [max(len(one[key]) for one in found) for key in ("id", "name")]
    print(render.heading("Available Provider Profiles:"))
    for category in CATEGORIES:
        group = sorted((one for one in found if one["category"] == category), key=lambda one: one["id"])
        if not group:
            continue
        print(f"\n  {render.bold(category.replace('_', ' ').upper())}")
        print(f"    {'ID':<{names[0]}}  SCOPE  SOURCE   {'NAME':<{names[1]}} ENDPOINTS")
        for one in group:
            line = f"    {one['id']:<{names[0]}}  {one['scope']:<5}  {one['source']:<7}  {one['name']:<{names[1]}} {one['endpoints']} "
            print(line + (" inference" if one["inference"] else ""))


def _diagnose(problems, verb):
    print(render.bold_of(render.red, "Provider profile diagnostics:"), file=sys.stderr)
    for file, profile, field, text in problems:
        print(f"  {render.red('error')} {file} profile={profile} field={field} {text}", file=sys.stderr)
    raise Failure(f"provider profile {verb} failed")


def _profile(path, verb):
    """The profile in a YAML file, complete with its defaults; reports what is wrong with it."""
    from . import profiles

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        _diagnose([(path, "-", "file", f"failed to read provider profile file: {error.strerror} (os error {error.errno})")], verb)
    try:
        profile = profiles.parse(text)
    except profiles.Malformed as malformed:
        _diagnose([(path, "-", "file", f"failed to parse provider profile YAML: {malformed}")], verb)
    problems = profiles.problems(profile)
    if problems:
        _diagnose([(path, profile["id"] or "-", field, problem) for field, problem in problems], verb)
    return profile


def _file(context, verb):
    if context.args.get("from") or context.args.get("global"):
        raise NotRecorded(f"provider profile {verb} --from or --global")
    return context.args.file


def provider_profile_lint(context):
    _profile(_file(context, "lint"), "lint")
    print("Provider profile lint passed.")


def provider_profile_import(context):
    path = _file(context, "import")
    problems = context.call("profile.import", profiles=[_profile(path, "import")])["problems"]
    if problems:
        _diagnose([(path, *problem) for problem in problems], "import")
    print("Imported 1 provider profile.")


def provider_profile_update(context):
    path = _file(context, "update")
    problems = context.call("profile.update", id=context.args.id, profile=_profile(path, "update"))["problems"]
    if problems:
        _diagnose([(path, *problem) for problem in problems], "update")
    print("Updated provider profile.")


def provider_profile_export(context):
    import json

    from ..policy.schema import to_yaml

    found = context.call("profile.get", id=context.args.id)
    data = {key: found[key] for key in EXPORTED if key in found}
    if context.args.output == "json":
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        print(to_yaml(data))


def provider_profile_delete(context):
    name = context.args.id
    context.call("profile.delete", id=name)
    print(f"Deleted provider profile '{name}'.")
