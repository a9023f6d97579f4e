# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a help text does not tell about a command line: aliases, repetition, exclusion, types."""

from __future__ import annotations

ALIASES = {
    "sb": "sandbox",
    "fwd": "forward",
    "svc": "service",
    "lg": "logs",
    "pol": "policy",
    "rl": "rule",
    "ws": "workspace",
    "gw": "gateway",
    "dr": "doctor",
}

# Subcommands that exist but that no help names.
HIDDEN = {"": ("rule", "workspace"), "gateway": ("login", "logout"), "sandbox": (), "doctor": ("check",)}

_TTY = (("tty", "no_tty"),)
_WAIT = {"types": {"timeout": "u64"}}

RULES = {
    "sandbox create": {
        "repeat": ("--provider", "--label", "--env", "--upload"),
        "last": "COMMAND",
        "overrides": (*_TTY, ("auto_providers", "no_auto_providers")),
        "conflicts": (
            ("--no-keep", "--editor"),
            ("--no-keep", "--forward"),
            ("--output", "--editor"),
            ("--output", "COMMAND"),
            ("--output", "--no-keep"),
            ("--output", "--forward"),
        ),
        "requires": (("--no-git-ignore", "--upload"),),
        "types": {"gpu": "gpu"},
    },
    "sandbox exec": {"repeat": ("--env",), "trailing": True, "overrides": _TTY, "types": {"timeout": "u32"}},
    "sandbox get": {"conflicts": (("--policy-only", "--output"),)},
    "sandbox list": {
        "conflicts": (("--ids", "--names"), ("--ids", "--output"), ("--names", "--output")),
        "types": {"limit": "u32", "offset": "u32"},
    },
    "sandbox delete": {"conflicts": (("--all", "NAME"),), "required_unless": {"NAME": "--all"}},
    "provider create": {
        "repeat": ("--credential", "--config"),
        "one_of": ("--from-existing", "--credential", "--from-gcloud-adc", "--runtime-credentials"),
        "conflicts": (
            ("--from-existing", "--credential"),
            ("--from-existing", "--from-gcloud-adc"),
            ("--from-existing", "--runtime-credentials"),
            ("--credential", "--from-gcloud-adc"),
            ("--credential", "--runtime-credentials"),
            ("--from-gcloud-adc", "--runtime-credentials"),
        ),
    },
    "provider update": {
        "repeat": ("--credential", "--config", "--credential-expires-at"),
        "conflicts": (("--from-existing", "--credential"),),
    },
    "provider list": {"conflicts": (("--names", "--output"),), "types": {"limit": "u32", "offset": "u32"}},
    "provider profile import": {"one_of": ("--file", "--from"), "conflicts": (("--file", "--from"),)},
    "provider profile lint": {"one_of": ("--file", "--from"), "conflicts": (("--file", "--from"),)},
    "inference set": _WAIT,
    "inference update": _WAIT,
    "policy set": _WAIT,
    "policy get": {"conflicts": (("--full", "--base"),), "types": {"rev": "u32"}},
    "policy list": {"types": {"limit": "u32"}},
    "policy update": {"repeat": ("--add-endpoint", "--remove-endpoint", "--add-allow", "--add-deny", "--remove-rule", "--binary"), **_WAIT},
    "gateway add": {"conflicts": (("--remote", "--local"), ("--oidc-issuer", "--remote"))},
    "forward service": {"types": {"target_port": "port"}},
    "service expose": {"types": {"target_port": "u16"}},
    "logs": {"repeat": ("--source",), "types": {"n": "u32"}},
    "workspace create": {"repeat": ("--label",)},
    "workspace list": {"types": {"limit": "u32", "offset": "u32"}},
    "": {"repeat": ("--server-san",)},
    "generate-certs": {"repeat": ("--server-san",)},
}

_LIMITS = {"u16": 65535, "u32": 2**32 - 1, "u64": 2**64 - 1, "port": 65535}


def problem(kind, value):
    """What is wrong with `value` as a number, in the words of the real program; None when nothing is."""
    if kind == "gpu":
        if value == "":
            return None
        return (
            None
            if value.isdigit() and int(value) > 0
            else "GPU count must be a positive integer"
            if not value.isdigit()
            else "GPU count must be greater than 0"
        )
    if value == "":
        return "cannot parse integer from empty string"
    if not value.isdigit():
        return "invalid digit found in string"
    if int(value) > _LIMITS[kind]:
        return f"{value} is not in {'1' if kind == 'port' else '0'}..=65535" if kind in ("port", "u16") else "number too large to fit in target type"
    if kind == "port" and int(value) == 0:
        return "0 is not in 1..=65535"
    return None
