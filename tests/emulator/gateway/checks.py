# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of names, labels, environments and exec requests, with the gateway's sentences."""

from __future__ import annotations

import re

from ..errors import Refusal, invalid, missing

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_NAME, MAX_LABEL_NAME, MAX_ENTRIES, MAX_ENTRY, MAX_ENVIRONMENT = 19, 63, 128, 8192, 256 * 1024
MAX_PROVIDERS, MAX_ARGUMENTS, MAX_ARGUMENT, MAX_WORKDIR, MAX_COMMAND = 32, 1024, 32 * 1024, 4096, 256 * 1024


def name(text, field="name"):
    if len(text) > MAX_NAME:
        raise invalid(f"{field} exceeds maximum length ({len(text)} > {MAX_NAME})")
    if not re.fullmatch(r"[a-z0-9-]*", text):
        raise invalid(f"{field} must contain only lowercase alphanumeric characters or hyphens")
    if text.startswith("-") or text.endswith("-"):
        raise invalid(f"{field} must not start or end with a hyphen")
    if "--" in text:
        raise invalid(f"{field} must not contain consecutive hyphens")


def label_key(key):
    if not key:
        raise invalid("label key cannot be empty")
    if len(key) > 253:
        raise invalid(f"label key exceeds 253 characters: '{key}'")
    prefix, slash, segment = key.partition("/")
    if not slash:
        prefix, segment = None, key
    if not segment:
        raise invalid(f"label key name segment cannot be empty: '{key}'")
    if len(segment) > MAX_LABEL_NAME:
        raise invalid(f"label key name segment exceeds 63 characters: '{key}'")
    if not re.fullmatch(r"[\w.-]+", segment):
        raise invalid(f"label key name segment contains invalid characters (must be alphanumeric, '-', '_', or '.'): '{key}'")
    for end, char in (("start", segment[0]), ("end", segment[-1])):
        if not char.isalnum():
            raise invalid(f"label key name segment must {end} with alphanumeric character: '{key}'")
    if prefix == "":
        raise invalid(f"label key prefix cannot be empty when '/' is present: '{key}'")


def label_value(value):
    if not value:
        return
    if len(value) > 63:
        raise invalid(f"label value exceeds 63 characters: '{value}'")
    if not re.fullmatch(r"[\w.-]+", value):
        raise invalid(f"label value contains invalid characters (must be alphanumeric, '-', '_', or '.'): '{value}'")
    for end, char in (("start", value[0]), ("end", value[-1])):
        if not char.isalnum():
            raise invalid(f"label value must {end} with alphanumeric character: '{value}'")


def labels(pairs):
    for key, value in pairs.items():
        label_key(key)
        label_value(value)


def selector(text):
    """{key: value} of `key=value,…`"""
    wanted = {}
    for pair in (pair.strip() for pair in text.split(",")):
        if not pair:
            continue
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise invalid(f"invalid label selector: expected 'key=value', got '{pair}'")
        if not key:
            raise invalid(f"invalid label selector: key cannot be empty in '{pair}'")
        label_key(key)
        label_value(value)
        wanted[key] = value
    return wanted


def environment(pairs, field="spec.environment"):
    if len(pairs) > MAX_ENTRIES:
        raise invalid(f"{field} exceeds maximum entries ({len(pairs)} > {MAX_ENTRIES})")
    total = sum(len(key.encode()) + len(value.encode()) for key, value in pairs.items())
    for _key, value in pairs.items():
        if len(value.encode()) > MAX_ENTRY:
            raise invalid(f"{field} value exceeds maximum length ({len(value.encode())} > {MAX_ENTRY})")
    if total > MAX_ENVIRONMENT:
        raise invalid(f"{field} total size exceeds {MAX_ENVIRONMENT} byte limit ({total} bytes)")
    _keys(pairs, field)


def _keys(pairs, field):
    for key, value in pairs.items():
        if not KEY.fullmatch(key):
            raise invalid(f"{field} keys must match ^[A-Za-z_][A-Za-z0-9_]*$; got '{key}'")
        if key.startswith("OPENSHELL_"):
            raise invalid(f"{field} keys starting with OPENSHELL_ are reserved; got '{key}'")
        if "\n" in value or "\r" in value:
            raise invalid(f"{field} value for '{key}' contains newline or carriage return characters")


def command(request):
    """The shell command of an exec request (`command`, `environment`, `workdir`), within all limits."""
    words = request["command"]
    if len(words) > MAX_ARGUMENTS:
        raise invalid(f"command array exceeds {MAX_ARGUMENTS} argument limit")
    for index, word in enumerate(words):
        if len(word.encode()) > MAX_ARGUMENT:
            raise invalid(f"command argument {index} exceeds {MAX_ARGUMENT} byte limit")
    pairs, workdir = request.get("environment", {}), request.get("workdir") or ""
    for key, value in pairs.items():
        if len(value.encode()) > MAX_ARGUMENT:
            raise invalid(f"environment value for '{key}' exceeds {MAX_ARGUMENT} byte limit")
        if "\n" in value or "\r" in value:
            raise invalid(f"environment value for '{key}' contains newline or carriage return characters")
    _keys(pairs, "environment")
    if len(workdir) > MAX_WORKDIR:
        raise invalid(f"workdir exceeds {MAX_WORKDIR} byte limit")
    if "\n" in workdir or "\r" in workdir:
        raise invalid("workdir contains newline or carriage return characters")
    parts = [f"{key}={escaped(value)}" for key, value in sorted(pairs.items())] + [escaped(word) for word in words]
    text = (f"cd {escaped(workdir)} && " if workdir else "") + " ".join(parts)
    if len(text.encode()) > MAX_COMMAND:
        raise invalid(f"assembled command string exceeds {MAX_COMMAND} byte limit")
    return text


def escaped(word):
    if re.fullmatch(r"[A-Za-z0-9./_-]+", word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def workspace(gateway, name_):
    if not gateway.store.get("workspace", name_):
        raise missing(f"workspace '{name_}' not found")


def exists(message):
    return Refusal("ALREADY_EXISTS", message)
