# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The blueprint: the product's data, read from a directory whose every file is pinned. Private to the collection."""

from __future__ import annotations

import functools
import hashlib
import pathlib
import typing as t

import jinja2
import yaml

MANIFEST = "MANIFEST.sha256"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first is ten times as fast, and a plan reads ten files
BUNDLED = pathlib.Path(__file__).resolve().parents[2] / "blueprint"


class BlueprintError(Exception):
    """The blueprint is not what it should be."""


def pins(root: pathlib.Path) -> str:
    """The text of C(MANIFEST.sha256) for a directory, as C(sha256sum) writes it: one line a file, sorted by path."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file() and path.name != MANIFEST}
    return "".join(f"{hashlib.sha256(files[name].read_bytes()).hexdigest()}  {name}\n" for name in sorted(files))


@functools.cache
def _parsed(text: str) -> t.Any:
    return yaml.load(text, Loader=LOADER)


class Blueprint:
    """A verified blueprint directory. C(digest) is the SHA-256 of its manifest, which holds the SHA-256 of every other file."""

    def __init__(self, root: pathlib.Path = BUNDLED, digest: str = "", version: str = "") -> None:
        self.root = root
        self.digest = self._verified(digest)
        self.data: dict[str, t.Any] = self.yaml("blueprint.yaml")
        if version and version != self.data["version"]:
            raise BlueprintError(f"The blueprint in {root} is version {self.data['version']}, not {version} (nemoclaw_blueprint.version).")

    def _verified(self, digest: str) -> str:
        try:
            manifest = (self.root / MANIFEST).read_text()
        except OSError as error:
            raise BlueprintError(f"There is no blueprint in {self.root} (nemoclaw_blueprint.source): {error.strerror}: {MANIFEST}.") from None
        if manifest != pins(self.root):
            differing = {line.split("  ", 1)[1] for line in set(manifest.splitlines()) ^ set(pins(self.root).splitlines())}
            raise BlueprintError(
                f"The blueprint in {self.root} was changed: {', '.join(sorted(differing))} not as pinned in {MANIFEST}. `make manifest` pins anew."
            )
        actual = hashlib.sha256(manifest.encode()).hexdigest()
        if digest and digest != actual:
            raise BlueprintError(f"The blueprint in {self.root} has the digest {actual}, not {digest} (nemoclaw_blueprint.digest).")
        return actual

    def text(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def yaml(self, name: str) -> t.Any:
        """A file's data. It is shared by all who ask, so nobody changes it."""
        return _parsed(self.text(name))

    def render(self, name: str, /, **values: t.Any) -> str:
        """A template of the blueprint, which may include others; a value that it lacks is an error."""
        return self._templates.get_template(name).render(**values)

    @functools.cached_property
    def _templates(self) -> jinja2.Environment:
        """One for all templates: each is compiled once, and a plan renders several of them twice."""
        loader = jinja2.FileSystemLoader(self.root)
        return jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)

    def stems(self, folder: str) -> list[str]:
        """Names of the YAML files in a directory, without their ending."""
        return sorted(path.stem for path in (self.root / folder).glob("*.yaml"))

    def agents(self) -> list[str]:
        return sorted(path.parent.name for path in self.root.glob("agents/*/manifest.yaml"))
