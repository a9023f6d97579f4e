# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real request to an inference endpoint, and what went wrong with it. Private to the collection."""

from __future__ import annotations

import base64
import datetime
import errno
import html
import json
import re
import socket
import time
import typing as t
from urllib.parse import quote, urlsplit

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.manifests import retry_after
from ansible_collections.nemoclaw.fleet.plugins.module_utils._headers import Headers
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.url import DIRECT, is_loopback

try:
    import requests
except ImportError:
    requests = None

APIS = {"completions": "chat/completions", "responses": "responses", "messages": "messages"}
PROMPT = "Reply with exactly: OK"
MAX_TOKENS = 256  # room for a model that thinks first
MAX_BYTES = 1 << 20
BLOCK = 128  # bytes; small, because a slow answer is looked at only between two blocks
CONNECT_TIMEOUT = 10  # seconds
PASSING = (429, 502, 503, 504)  # a fleet that asks at once is limited, a server behind a balancer is restarted
PAUSES = (2, 6)  # seconds between tries where the server names none
NO_SUCH_MODEL = "nemoclaw-no-such-model"
WRONG_MODEL = re.compile(
    r"model[^.]{0,120}(not found|not exist|unknown|invalid|not available|not supported|no access|not a valid|not deployed)|"
    r"(unknown|invalid|no such|unsupported|unrecognized) model|model_not_found|Function '.{1,80}': Not found for account",
    re.IGNORECASE | re.DOTALL,
)


class Failure(Exception):
    """Why an endpoint cannot be used: C(kind) as RETURN of endpoint_probe lists them, a sentence, and the HTTP status if there was one.

    C(retry_after) is the header of that name, as it came.
    """

    def __init__(self, kind: str, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.status = status
        self.retry_after = ""


class Answer(t.NamedTuple):
    """What a model said, which model it was by its own account, and after how many milliseconds."""

    text: str
    model: str
    latency_ms: int


class Endpoint:
    """An endpoint at a base URL (see C(url.normalise)). C(verify) is a flag or the path of a CA bundle, C(timeout) in seconds and for each request.

    C(direct) leaves out the proxies of the environment, as the loopback always does.
    """

    def __init__(self, base: str, key: str, timeout: float, verify: bool | str = True, direct: bool = False) -> None:
        self.base = base
        self.key = key
        self.timeout = timeout
        self.verify = verify
        self.proxies = DIRECT if direct or is_loopback(urlsplit(base).hostname or "") else None

    def models(self) -> list[str]:
        """The ids of the models that the endpoint lists, in its order, with other names that llama-server has for them; empty where it does not list any."""
        try:
            listed = self._list().get("data")
        except Failure as failure:
            if failure.kind in ("refused", "tls") or (failure.kind, failure.status) == ("not_an_api", None):
                raise
            return []  # not every endpoint lists its models; the real request decides
        entries = [one for one in listed if isinstance(one, dict) and one.get("id")] if isinstance(listed, list) else []
        return list(dict.fromkeys(str(name) for one in entries for name in [one["id"], *(one.get("aliases") or [])]))

    def is_api(self) -> bool:
        """Whether something answers here as an API does: with models, or by asking for a key."""
        try:
            return isinstance(self._list().get("data"), list)
        except Failure as failure:
            return failure.kind == "unauthorized"

    def _list(self) -> dict:
        return self._call("GET", f"{self.base}/models", self._bearer(), None, min(self.timeout, CONNECT_TIMEOUT))

    def ask(self, api: str, model: str) -> Answer:
        """Have the model answer. A status that passes is waited out while C(timeout) lasts, as long as the server asks for. Raises Failure."""
        deadline = time.monotonic() + self.timeout
        for pause in PAUSES:
            try:
                return self._ask(api, model)
            except Failure as failure:
                wait = retry_after(failure.retry_after, datetime.datetime.now(datetime.timezone.utc), pause)
                if failure.status not in PASSING or time.monotonic() + wait > deadline:
                    raise
            time.sleep(wait)
        return self._ask(api, model)

    def _ask(self, api: str, model: str) -> Answer:
        url = f"{self.base}/{APIS[api]}"
        started = time.monotonic()
        body = self._ask_messages(url, model) if api == "messages" else self._ask_openai(api, url, model)
        return Answer(_text(api, body, url), str(body.get("model") or ""), int((time.monotonic() - started) * 1000))

    def _ask_openai(self, api: str, url: str, model: str) -> dict:
        if api == "responses":
            return self._call("POST", url, self._bearer(), {"model": model, "input": PROMPT, "max_output_tokens": MAX_TOKENS})
        request = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": MAX_TOKENS}
        try:
            return self._call("POST", url, self._bearer(), request)
        except Failure as failure:
            if failure.status != 400 or "max_completion_tokens" not in failure.detail:
                raise
        request["max_completion_tokens"] = request.pop("max_tokens")  # OpenAI's newer models refuse the old name
        return self._call("POST", url, self._bearer(), request)

    def _ask_messages(self, url: str, model: str) -> dict:
        request = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": MAX_TOKENS}
        version = {"anthropic-version": "2023-06-01"}
        try:
            return self._call("POST", url, {**version, **({"x-api-key": self.key} if self.key else {})}, request)
        except Failure as failure:
            if failure.kind != "unauthorized" or not self.key:
                raise
        return self._call("POST", url, {**version, **self._bearer()}, request)  # vLLM takes its key only so

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def _call(self, method: str, url: str, headers: dict[str, str], body: dict | None, timeout: float | None = None) -> dict:
        timeout = timeout or self.timeout
        deadline = time.monotonic() + timeout
        limits = (min(timeout, CONNECT_TIMEOUT), timeout)
        try:
            with requests.request(
                method, url, json=body, auth=Headers(headers), timeout=limits, verify=self.verify, proxies=self.proxies, allow_redirects=False, stream=True
            ) as response:
                return _parse(url, response.status_code, response.headers, _read(response, deadline, url, timeout))
        except requests.exceptions.RequestException as error:
            failure = unreachable(error, url, limits)
        if failure.kind == "timeout" and url.startswith("https:") and _speaks_plain_http(url):
            failure = Failure("tls", f"{urlsplit(url).netloc.rpartition('@')[2]} does not speak TLS; with http:// instead of https:// it answers")
        raise failure


def _speaks_plain_http(url: str) -> bool:
    """A server without TLS waits for the rest of what it takes for a request, so that https:// to it ends in a timeout."""
    parts = urlsplit(url)
    try:
        with requests.get(f"http://{parts.hostname}:{parts.port or 443}/", timeout=3, allow_redirects=False, stream=True):
            return True
    except requests.exceptions.RequestException:
        return False


def _read(response: requests.Response, deadline: float, url: str, timeout: float) -> bytes:
    """The body, bounded in size and time: what drips or never ends is not an answer."""
    body = b""
    for block in response.iter_content(BLOCK):
        body += block
        if len(body) > MAX_BYTES:
            raise Failure("not_an_api", f"{url} answers with more than {MAX_BYTES} bytes", response.status_code)
        if time.monotonic() > deadline:
            raise Failure("timeout", f"{url} began to answer, but did not end within {timeout:g} s")
    return body


def _parse(url: str, status: int, headers: t.Mapping[str, str], raw: bytes) -> dict:
    """The JSON object of an answer. Raises Failure for every other answer."""
    text = raw.decode("utf-8", errors="replace")
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if status == 200 and isinstance(body, dict) and not body.get("error"):
        return body
    failure = classify(url, status, headers.get("location", ""), text, isinstance(body, dict))
    failure.retry_after = headers.get("retry-after", "")
    raise failure


def classify(url: str, status: int, location: str, text: str, is_json: bool) -> Failure:
    """The failure in an HTTP answer. Pure."""
    said = f"{url} answers {status}: {' '.join(text.split())[:300] or 'nothing'}"
    if status in (401, 403):
        return Failure("unauthorized", said, status)
    if 300 <= status < 400:
        return Failure("not_an_api", f"{url} redirects to {location}", status)
    if status == 429:
        return Failure("rate_limited", said, status)
    if status >= 500:
        return Failure("server_error", said, status)
    if WRONG_MODEL.search(text):
        return Failure("model_not_found", said, status)
    if status in (404, 405) or not is_json:
        return Failure("not_an_api", said, status)
    return Failure("server_error", said, status)


def _text(api: str, body: dict, url: str) -> str:
    """The text in an answer of an API; what has not its shape is not that API."""
    try:
        if api == "completions":
            return body["choices"][0]["message"].get("content") or ""
        if api == "responses":
            parts = [part for item in body["output"] for part in item.get("content") or []]
            return "".join(part.get("text", "") for part in parts if part.get("type") == "output_text")
        return "".join(part.get("text", "") for part in body["content"] if part["type"] == "text")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Failure("not_an_api", f"{url} answers JSON, but not in the shape of this API: {json.dumps(body)[:200]}", 200) from None


def unreachable(error: Exception, url: str, limits: tuple[float, float]) -> Failure:
    """The failure of a request that got no HTTP answer."""
    where = urlsplit(url)
    host = where.hostname or ""
    port = where.port or (443 if where.scheme == "https" else 80)
    causes = list(_causes(error))
    text = " ".join(str(cause) for cause in causes)
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if isinstance(error, requests.exceptions.SSLError):
        return Failure("tls", _tls(host, port, text))
    if isinstance(error, requests.exceptions.ProxyError):
        return Failure("refused", f"the proxy of the environment does not lead to {host}:{port}: {_last(causes)}")
    if any(isinstance(cause, socket.gaierror) for cause in causes) or "Name or service not known" in text or "name resolution" in text:
        return Failure("refused", f"the name {host} does not resolve on this host (DNS)")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Failure("timeout", f"no connection to {host}:{port} within {limits[0]:g} s; packets are dropped on the way")
    if isinstance(error, requests.exceptions.Timeout) or "Read timed out" in text:
        return Failure("timeout", f"{host}:{port} took the request but did not answer within {limits[1]:g} s")
    if errno.ECONNREFUSED in numbers or "Connection refused" in text:
        return Failure("refused", f"nothing listens on {host}:{port} (connection refused)")
    if numbers & {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return Failure("refused", f"there is no route to {host}:{port}")
    return Failure("not_an_api", f"{host}:{port} accepts connections but does not answer as HTTP: {_last(causes)}")


def _tls(host: str, port: int, text: str) -> str:
    for sign, meaning in (
        ("WRONG_VERSION_NUMBER", "does not speak TLS; with http:// instead of https:// it may answer"),
        ("self-signed", "has a certificate that no CA known to this host has signed"),
        ("self signed", "has a certificate that no CA known to this host has signed"),
        ("signature failure", "has a certificate that no CA known to this host has signed"),
        ("unable to get local issuer", "has a certificate of a CA that this host does not know"),
        ("expired", "has a certificate that has expired"),
        ("not valid for", "has a certificate for another name"),
        ("doesn't match", "has a certificate for another name"),
    ):
        if sign.lower() in text.lower():
            return f"{host}:{port} {meaning}"
    return f"the TLS handshake with {host}:{port} fails: {text[:200]}"


def _causes(error: BaseException | None) -> t.Iterator[BaseException]:
    """An exception and all that it wraps: requests and urllib3 put the cause into arguments, C(reason) or C(__cause__)."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    return iter(seen)


def _last(causes: list[BaseException]) -> str:
    return str(causes[-1])[:200]


def ignores_names(endpoint: Endpoint, api: str) -> bool:
    """Whether the endpoint answers for a model that cannot exist, as llama-server does: then its answer proves nothing about the name."""
    try:
        endpoint.ask(api, NO_SUCH_MODEL)
    except Failure:
        return False
    return True


def listed(model: str, models: list[str]) -> bool:
    """Whether a model is among those listed; Gemini lists C(models/NAME), Ollama C(NAME:latest)."""
    return not {model, f"models/{model}", f"{model}:latest"}.isdisjoint(models)


def mask(value: t.Any, secrets: t.Iterable[str]) -> t.Any:
    """The value with every secret in it masked, also where a server echoes it quoted or encoded."""
    forms = {form for secret in secrets if secret for form in _forms(secret)}

    def masked(one: t.Any) -> t.Any:
        if isinstance(one, dict):
            return {key: masked(item) for key, item in one.items()}
        if isinstance(one, list):
            return [masked(item) for item in one]
        if isinstance(one, str):
            for form in sorted(forms, key=len, reverse=True):
                one = one.replace(form, "********")
        return one

    return masked(value)


def _forms(secret: str) -> set[str]:
    raw = secret.encode()
    encoded = {base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], html.escape(secret), *encoded}
