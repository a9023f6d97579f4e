# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkers, each with the configuration that lies in the checkout. What one says is the test's output."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.bed.paths import CHECKOUT


def shell_scripts() -> list[str]:
    """Every file of the checkout whose first line names a shell."""
    listed = subprocess.run(["git", "grep", "-nIE", "^#!.*/(env )?(ba)?sh"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return [name for name, line, _text in (found.split(":", 2) for found in listed.splitlines()) if line == "1"]


@pytest.mark.parametrize(
    "argv",
    [
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        ("yamllint", "--strict", "."),
        ("shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *shell_scripts()),
        ("antsibull-changelog", "lint"),
        ("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", "."),
        ("ansible-lint", "--offline", "--strict"),
    ],
    ids=lambda argv: argv[0],
)
def test_checker_finds_nothing(tree, argv):
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(tree.parents[2]), "NO_COLOR": "1"}
    done = subprocess.run(["nice", *argv], cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-6000:]}{done.stderr[-6000:]}"


def test_builds_as_a_collection(tree, tmp_path):
    subprocess.run(["ansible-galaxy", "collection", "build", "--output-path", str(tmp_path)], cwd=tree, check=True, capture_output=True)
    subprocess.run(
        ["ansible-galaxy", "collection", "install", "--offline", "--force", "-p", str(tmp_path / "installed"), *map(str, tmp_path.glob("*.tar.gz"))],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "installed/ansible_collections/nemoclaw/fleet/playbooks/onboard.yml").is_file()
