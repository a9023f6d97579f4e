# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages say exists: files, make targets, playbooks; and the inventory of the README gives a plan."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader

from tests.unit.test_plan import run

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("roles/*/README.md"))]
page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@page
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


@page
def test_commands_exist(path):
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {name for words in re.findall(r"(?:^    |`|; |DIR=/path )make ((?:[a-z0-9-]+ ?)+)", text, re.MULTILINE) for name in words.split()} <= targets
    playbooks = {name.stem for name in (ROOT / "playbooks").glob("*.yml")} | {name.stem for name in (ROOT / "plugins").glob("*/*.py")}
    playbooks |= {name.name for name in (ROOT / "roles").iterdir()}
    assert set(re.findall(r"nemoclaw\.fleet\.([a-z_]+)", text)) <= playbooks


@page
def test_files_exist(path):
    named = set(re.findall(r"`((?:blueprint|docs|inventories|molecule|playbooks|plugins|roles|tests)/[\w./-]*)`", path.read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_inventory_of_the_readme(monkeypatch, tmp_path):
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
    assert len(text.splitlines()) == 10
    monkeypatch.setenv("COMPATIBLE_API_KEY", "sk-canary-0c0c")
    given = DataLoader().load(text)["all"]["vars"]
    for name in ("openshell", "openshell-gateway", "openshell-sandbox"):
        (tmp_path / name).touch()
    trusted = {**given, "nemoclaw_openshell": {"source": "directory", "path": str(tmp_path)}}
    result = run({key: value for key, value in trusted.items() if key.startswith("nemoclaw_")})
    assert result["plan"]["sandboxes"][0]["name"] == "assistant", result
    assert yaml.safe_load(text)["all"]["vars"]["nemoclaw_openshell"]["source"] == "directory"
