# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a running Ollama. Private to the collection."""

from __future__ import annotations

import contextlib
import json
import re
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.url import DIRECT

try:
    import requests
except ImportError:
    requests = None

CONNECT = 10  # seconds
QUESTION = 30  # seconds that a question about models may take
PROMPT = "Reply with exactly: OK"
FULL = "no space left on device"


class OllamaError(ResourceError):
    """Ollama refused a request."""

    kind = "ollama"


class Unreachable(OllamaError):
    """No Ollama answers."""


class Stalled(OllamaError):
    """A pull does not get on, or a model does not answer in time."""

    kind = "stalled"


class Pulled(t.NamedTuple):
    """How far a pull is: bytes of all layers seen so far."""

    completed: int
    total: int


class Ollama:
    """A server at a base URL, without a key: it listens on the loopback only."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def version(self) -> str:
        return str(self._call("GET", "/api/version").get("version", ""))

    def models(self) -> list[dict[str, t.Any]]:
        return self._call("GET", "/api/tags").get("models") or []

    def loaded(self) -> list[dict[str, t.Any]]:
        return self._call("GET", "/api/ps").get("models") or []

    def capabilities(self, model: str) -> list[str] | None:
        """What a model can do; None where this Ollama does not say."""
        return self._call("POST", "/api/show", {"model": model}).get("capabilities")

    def delete(self, model: str) -> None:
        self._call("DELETE", "/api/delete", {"model": model})

    def copy(self, source: str, target: str) -> None:
        self._call("POST", "/api/copy", {"source": source, "destination": target})

    def chat(self, model: str, timeout: float, keep_alive: str | int | None = None) -> str:
        """What the model answers; it is loaded for that. Raises Stalled when it takes too long."""
        request = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": False, "options": {"num_predict": 16}}
        kept = {} if keep_alive is None else {"keep_alive": _duration(keep_alive)}
        return str((self._call("POST", "/api/chat", {**request, **kept}, timeout).get("message") or {}).get("content", ""))

    def unload(self, model: str) -> None:
        self._call("POST", "/api/generate", {"model": model, "keep_alive": 0})

    def pull(self, model: str, insecure: bool, stall: float, report: t.Callable[[Pulled], None]) -> None:
        """Fetch a model. What an earlier, broken off pull has fetched is not fetched again. Raises Stalled when no byte comes for C(stall) seconds."""
        layers: dict[str, Pulled] = {}
        moved, before = time.monotonic(), (0, "")
        body = {"model": model, "insecure": insecure, "stream": True}
        remedy = "Run it again, what was fetched is kept; or give it longer (nemoclaw_ollama.stall_timeout)."
        stalled = Stalled(f"no byte of {model} came for {stall:g} s.", remedy)
        with self._errors(stalled), self._post("/api/pull", body, stall) as answer:
            for line in answer.iter_lines(chunk_size=1):
                event = json.loads(line) if line else {}
                if "error" in event:
                    raise refused(f"{model} cannot be pulled", event["error"])
                if event.get("total"):
                    layers[event.get("digest", "")] = Pulled(event.get("completed", 0), event["total"])
                so_far = Pulled(sum(layer.completed for layer in layers.values()), sum(layer.total for layer in layers.values()))
                if (so_far.completed, event.get("status", "")) != before:
                    moved, before = time.monotonic(), (so_far.completed, event.get("status", ""))
                    report(so_far)
                elif time.monotonic() - moved > stall:
                    raise stalled
                if event.get("status") == "success":
                    return
        raise OllamaError(f"{model} cannot be pulled: Ollama ended the pull without a word.", "See 'journalctl -u ollama'.")

    def _post(self, path: str, body: dict[str, t.Any], silence: float) -> requests.Response:
        """An answer that comes piece by piece."""
        return requests.post(f"{self.url}{path}", json=body, stream=True, timeout=(CONNECT, silence), proxies=DIRECT)

    def _call(self, method: str, path: str, body: dict[str, t.Any] | None = None, timeout: float = QUESTION) -> dict[str, t.Any]:
        remedy = "See 'journalctl -u ollama'; where Ollama hangs, 'systemctl restart ollama'."
        with self._errors(Stalled(f"{self.url}{path} was not answered within {timeout:g} s.", remedy)):
            answer = requests.request(method, f"{self.url}{path}", json=body, timeout=(CONNECT, timeout), proxies=DIRECT)
            try:
                found = answer.json() if answer.content else {}
            except ValueError:
                raise OllamaError(f"{self.url}{path} answers {answer.status_code}: {answer.text[:200]}", "Is it an Ollama?") from None
        if answer.status_code >= 400:
            raise refused(f"{self.url}{path} answers {answer.status_code}", str(found.get("error", "")))
        return found

    @contextlib.contextmanager
    def _errors(self, too_long: Stalled) -> t.Iterator[None]:
        if requests is None:
            raise Unreachable("Python's requests module is missing.", "Run 'apt-get install python3-requests'.")
        try:
            yield
        except requests.exceptions.ConnectTimeout:
            raise Unreachable(f"Ollama at {self.url} does not answer.", "See 'journalctl -u ollama'.") from None
        except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError) as error:
            if "timed out" in str(error):
                raise too_long from None
            raise Unreachable(f"Ollama at {self.url} does not answer: {reason(error)}.", "See 'journalctl -u ollama'.") from None
        except requests.exceptions.RequestException as error:
            raise Unreachable(f"The connection to Ollama at {self.url} broke off: {reason(error)}.", "See 'journalctl -u ollama'.") from None


def reason(error: BaseException) -> str:
    """The innermost cause in words."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return str(getattr(error, "reason", "") or error).rpartition(">: ")[2]


def _duration(keep_alive: str | int) -> str | int:
    """As Ollama reads it: in a request, seconds are a number, and a text has a unit."""
    return int(keep_alive) if re.fullmatch("-?[0-9]+", str(keep_alive)) else keep_alive


def refused(what: str, said: str) -> OllamaError:
    """The error for what Ollama said, with what can be done about it. Pure."""
    remedy = "See 'journalctl -u ollama'."
    words = said.lower()
    if FULL in words:
        remedy = "Free space in the directory of its models, or move that (nemoclaw_ollama.models_dir). What was fetched is kept."
    elif "file does not exist" in words or "not found" in words:
        remedy = "Check the model's name and tag, and that its registry has it."
    elif "requires more system memory" in words:
        remedy = "Choose a smaller model, or a smaller context_length."
    elif "does not support tools" in words:
        remedy = "Choose a model that calls tools."
    elif any(sign in words for sign in ("connection refused", "no such host", "i/o timeout", "network is unreachable", "eof", "max retries exceeded")):
        remedy = "Check that the host reaches the registry (nemoclaw_ollama.registry for a mirror, HTTPS_PROXY in nemoclaw_ollama.environment), and run again."
    elif "http response to https" in words or "tls:" in words or "x509" in words:
        remedy = "Trust the registry's certificate on the host, or set nemoclaw_ollama.insecure: true for one without TLS."
    elif "digest mismatch" in words:
        remedy = "The registry gave something else than its manifest says; run again."
    return OllamaError(f"{what}: {said.strip().rstrip('.')}.", remedy)
