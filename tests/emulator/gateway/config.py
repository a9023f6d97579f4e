# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""gateway.toml, version 1: read strictly, faults shown as the real program shows them."""

from __future__ import annotations

import re

import tomllib

from ..errors import Failure, NotRecorded

GATEWAY = (
    "bind_address",
    "health_bind_address",
    "metrics_bind_address",
    "log_level",
    "compute_drivers",
    "credential_drivers",
    "default_credential_driver",
    "credential_storage",
    "sandbox_namespace",
    "ssh_session_ttl_secs",
    "grpc_rate_limit_requests",
    "grpc_rate_limit_window_seconds",
    "policy_validation_failure_mode",
    "server_sans",
    "enable_loopback_service_http",
    "default_image",
    "supervisor_image",
    "client_tls_secret_name",
    "service_account_name",
    "host_gateway_ip",
    "enable_user_namespaces",
    "sa_token_ttl_secs",
    "guest_tls_ca",
    "guest_tls_cert",
    "guest_tls_key",
    "disable_tls",
    "tls",
    "oidc",
    "auth",
    "interceptors",
    "provider_profile_sources",
    "mtls_auth",
    "gateway_jwt",
    "otlp",
    "database_url",
)
DOCKER = (
    "socket_path",
    "default_image",
    "image_pull_policy",
    "sandbox_namespace",
    "grpc_endpoint",
    "supervisor_bin",
    "supervisor_image",
    "guest_tls_ca",
    "guest_tls_cert",
    "guest_tls_key",
    "network_name",
    "host_gateway_ip",
    "ssh_socket_path",
    "sandbox_pids_limit",
    "enable_bind_mounts",
)
UNSUPPORTED = ("metrics_bind_address", "oidc", "interceptors", "otlp", "credential_drivers", "provider_profile_sources")


def load(path):
    """(gateway section, docker driver section); both empty without a file."""
    if not path:
        return {}, {}
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise Failure(f"failed to read gateway config file '{path}': {error.strerror} (os error {error.errno})") from None
    try:
        root = tomllib.loads(text).get("openshell", {})
    except tomllib.TOMLDecodeError as error:
        raise _syntax(path, text, str(error)) from None
    version = root.get("version", 1)
    if version != 1:
        raise Failure(f"unsupported gateway config version {version}; this build only supports version 1")
    gateway, docker = root.get("gateway", {}), root.get("drivers", {}).get("docker", {})
    for section, known in ((gateway, GATEWAY), (docker, DOCKER)):
        for key in section:
            if key not in known:
                raise _unknown(path, text, key, known)
    for key in UNSUPPORTED:
        if key in gateway:
            raise NotRecorded(f"gateway.toml with {key}")
    inherited = (
        "default_image",
        "supervisor_image",
        "host_gateway_ip",
        "guest_tls_ca",
        "guest_tls_cert",
        "guest_tls_key",
        "sandbox_namespace",
    )
    return gateway, {**{key: gateway[key] for key in inherited if key in gateway}, **docker}


def _shown(path, number, column, line, marks, problem):
    pad = " " * len(str(number))
    return Failure(
        f"failed to parse gateway config file '{path}': TOML parse error at line {number}, column {column}\n"
        f"{pad} |\n{number} | {line}\n{pad} | {' ' * (column - 1)}{marks}\n{problem}\n"
    )


def _unknown(path, text, key, known):
    number, line = next((i, line) for i, line in enumerate(text.splitlines(), 1) if re.match(rf"\s*\[?[\w.]*\b{re.escape(key)}\b", line))
    expected = ", ".join(f"`{name}`" for name in known)
    return _shown(path, number, line.index(key) + 1, line, "^" * len(key), f"unknown field `{key}`, expected one of {expected}")


def _syntax(path, text, problem):
    match = re.search(r"line (\d+), column (\d+)", problem)
    lines = text.splitlines() or [""]
    number = int(match.group(1)) if match else len(lines)
    line = lines[number - 1] if number <= len(lines) else lines[-1]
    if "Expected ']' at the end of a table declaration" in problem:
        return _shown(path, number, len(line) + 1, line, "^", "invalid table header\nexpected `.`, `]`")
    return _shown(path, number, int(match.group(2)) if match else 1, line, "^", f"{problem} (the emulator's wording)")
