# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of a running Ollama. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.api import Ollama, OllamaError, Pulled, Stalled, Unreachable

TRIES = 3  # of a pull that stalls; each goes on where the one before ended


def canonical(name: str) -> str:
    """The name as Ollama lists it: with a tag, without its own registry and the namespace that it means anyway."""
    *where, last = name.split("/")
    if len(where) == 2 and where[0].lower() == "registry.ollama.ai":
        where = where[1:]
    if len(where) == 1 and where[0].lower() == "library":
        where = []
    return "/".join([*where, last if ":" in last else f"{last}:latest"])


class OllamaModel(Resource):
    """C({name, state, url, source, digest, insecure, tools, gpu, warm, keep_alive, stall_timeout, load_timeouts}): a model is present, absent or loaded.

    C(source) is the name it is pulled under where that is another one, as from a mirror. C(tools): it must be able to call tools. C(gpu): it must run on a
    GPU. C(warm): a model that was pulled answers a request at once. A server that does not answer has no models: applying it says what is wrong.
    """

    kind = "model"

    def __init__(self, desired: dict[str, t.Any]) -> None:
        super().__init__({"state": "present", **{key: value for key, value in desired.items() if value is not None}})
        self.desired["name"] = canonical(self.desired["name"])
        self.server = Ollama(self.desired["url"])
        self.progress = Progress(f"model {self.name}")

    @property
    def _digest(self) -> str:
        return self.desired.get("digest", "").partition(":")[2] or self.desired.get("digest", "")

    @property
    def _source(self) -> str:
        return canonical(self.desired.get("source") or self.name)

    def read(self) -> dict[str, t.Any]:
        try:
            return self._listed()
        except (Unreachable, Stalled):
            return {}

    def _listed(self) -> dict[str, t.Any]:
        """The model as a server that answers has it; empty where it has not."""
        found = self._of(self.server.models())
        if found is None:
            return {}
        tools = self.server.capabilities(self.name) if self.desired.get("tools") and not self.absent else None
        return {
            "digest": found["digest"],
            "size_mb": found["size"] >> 20,
            "loaded": self._loaded() is not None,
            "tools": tools is None or "tools" in tools,
        }

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        if not state:
            return [self.change("state", "absent", self.desired["state"])]
        wanted: dict[str, t.Any] = {"digest": self._digest} if self._digest else {}
        if self.desired.get("tools"):
            wanted["tools"] = True
        if self.desired["state"] == "loaded":
            wanted["loaded"] = True
        return self.compare(state, wanted)

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        fields = {change.field for change in changes}
        if self.absent:
            self.server.unload(self.name)
            self.server.delete(self.name)
            return
        if fields & {"state", "digest"}:
            self._pull()
            state = self._listed()
            if not state:
                raise OllamaError(f"{self.name} was pulled, and Ollama does not list it.", "Name it as 'ollama list' does.")
        if not state["tools"]:
            raise OllamaError(f"{self.name} cannot call tools, which agents need.", "Choose another model, or set nemoclaw_ollama.require_tools: false.")
        if self.desired["state"] == "loaded" or (self.desired.get("warm") and fields & {"state", "digest"}):
            self._load()

    def _pull(self) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                self.server.pull(self._source, self.desired.get("insecure", False), self.desired["stall_timeout"], self._said)
                break
            except Stalled:
                if attempt == TRIES:
                    raise
                self.progress.say(f"nothing came for {self.desired['stall_timeout']} s, trying again", at_once=True)
        if self._source != self.name:
            self.server.copy(self._source, self.name)
            self.server.delete(self._source)
        found = self._listed().get("digest")
        if self._digest and found != self._digest:
            raise OllamaError(
                f"The registry's {self.name} has the digest {found}, not {self._digest}.", "Correct the digest in nemoclaw_ollama.models, or the mirror."
            )

    def _said(self, pulled: Pulled) -> None:
        self.progress.fetched(pulled.completed, pulled.total)

    def _loaded(self) -> dict[str, t.Any] | None:
        return self._of(self.server.loaded())

    def _of(self, models: list[dict[str, t.Any]]) -> dict[str, t.Any] | None:
        """This one; to Ollama, names that differ in case are one, and it keeps the first."""
        return next((one for one in models if one["name"].lower() == self.name.lower()), None)

    def _load(self) -> None:
        """A real request; a second, longer time where the first is not enough for a large model."""
        self.progress.say("loading", at_once=True)
        *first, last = self.desired["load_timeouts"]
        for timeout in first:
            try:
                self.server.chat(self.name, timeout, self.desired.get("keep_alive"))
                break
            except Stalled:
                self.progress.say(f"not loaded within {timeout} s, waiting up to {last} s", at_once=True)
        else:
            try:
                self.server.chat(self.name, last, self.desired.get("keep_alive"))
            except Stalled:
                remedy = "Give it longer (nemoclaw_ollama.load_timeout), or choose a smaller model."
                raise Stalled(f"{self.name} was not loaded within {last} s.", remedy) from None
        loaded = self._loaded()
        if self.desired.get("gpu") and loaded and not loaded.get("size_vram"):
            raise OllamaError(f"{self.name} was loaded into the CPU's memory alone.", "See 'journalctl -u ollama' for why the GPU is not used.")
