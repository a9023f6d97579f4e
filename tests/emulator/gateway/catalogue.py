# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The provider types and profiles the gateway brings along."""

from __future__ import annotations

import functools
import json
import os

# id: (name, category, number of endpoints, may serve inference); in the order `provider list-profiles` shows them.
PROFILES = {
    "aws": ("AWS", "other", 0, False),
    "aws-s3": ("AWS S3", "other", 6, False),
    "google-cloud": ("Google Cloud (GCP APIs)", "other", 0, False),
    "aws-bedrock": ("AWS Bedrock", "inference", 0, True),
    "deepinfra": ("DeepInfra", "inference", 1, True),
    "google-vertex-ai": ("Google Vertex AI", "inference", 4, True),
    "nvidia": ("NVIDIA", "inference", 1, True),
    "claude-code": ("Claude Code", "agent", 3, True),
    "codex": ("Codex", "agent", 4, True),
    "copilot": ("GitHub Copilot", "agent", 7, False),
    "cursor": ("Cursor", "agent", 5, False),
    "github": ("GitHub", "source_control", 3, False),
    "pypi": ("PyPI", "data", 6, False),
}
DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "profiles")
CATEGORIES = ("other", "inference", "agent", "source_control", "messaging", "data", "knowledge")

ALIASES = {"claude": "claude-code", "claude_code": "claude-code", "gh": "github", "glab": "gitlab", "gcp": "google-cloud"}
LEGACY = (
    "anthropic",
    "claude-code",
    "codex",
    "copilot",
    "deepinfra",
    "generic",
    "github",
    "gitlab",
    "google-cloud",
    "google-vertex-ai",
    "nvidia",
    "openai",
    "opencode",
    "outlook",
    "aws-bedrock",
)

# Variables that `--from-existing` looks for.
DISCOVERY = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "claude-code": ("ANTHROPIC_API_KEY", "CLAUDE_API_KEY"),
    "codex": ("OPENAI_API_KEY",),
    "copilot": ("COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "github": ("GITHUB_TOKEN", "GH_TOKEN"),
    "gitlab": ("GITLAB_TOKEN", "GLAB_TOKEN", "CI_JOB_TOKEN"),
    "nvidia": ("NVIDIA_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "opencode": ("OPENCODE_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY"),
}

_OPENAI = ("openai_chat_completions", "openai_completions", "openai_responses", "openai_embeddings", "model_discovery")
# type: (credential keys, key of the base URL, its default, protocols, header of the key, headers always sent)
INFERENCE = {
    "openai": (("OPENAI_API_KEY",), "OPENAI_BASE_URL", "https://api.openai.com/v1", _OPENAI, "bearer", {}),
    "anthropic": (
        ("ANTHROPIC_API_KEY",),
        "ANTHROPIC_BASE_URL",
        "https://api.anthropic.com/v1",
        ("anthropic_messages", "model_discovery"),
        "x-api-key",
        {"anthropic-version": "2023-06-01"},
    ),
    "nvidia": (("NVIDIA_API_KEY",), "NVIDIA_BASE_URL", "https://integrate.api.nvidia.com/v1", _OPENAI, "bearer", {}),
    "deepinfra": (("DEEPINFRA_API_KEY",), "DEEPINFRA_BASE_URL", "https://api.deepinfra.com/v1/openai", _OPENAI, "bearer", {}),
}
INFERENCE_NAMES = "openai, anthropic, nvidia, deepinfra, google-vertex-ai, aws-bedrock"
UNTRIED_INFERENCE = ("google-vertex-ai", "aws-bedrock")


def known_type(name, custom):
    """The canonical type for a type or profile name; None when there is none. `custom`: ids of imported profiles."""
    lowered = name.strip().lower()
    canonical = ALIASES.get(lowered, lowered)
    if canonical in LEGACY or canonical in PROFILES:
        return canonical
    return lowered if lowered in custom else None


@functools.cache
def builtin(name):
    """A builtin profile as the real gateway exports it; None for those that are not kept here (and for what is no builtin)."""
    if name not in PROFILES or not os.path.exists(os.path.join(DATA, f"{name}.json")):
        return None
    with open(os.path.join(DATA, f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)
