# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the Hugging Face hub, or a mirror of it, gives a model to who has a token. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._headers import Headers
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.endpoint import unreachable

try:
    import requests
except ImportError:
    requests = None

HUB = "https://huggingface.co"
FILE = "config.json"  # every model has one; that it may be read is what the licence of a gated one is about
WORDS = 300  # characters of what the hub says


class Refusal(t.NamedTuple):
    """Why a model is not given: C(failure) as RETURN of hub_probe lists them, a sentence, what to do, and the HTTP status if there was one."""

    failure: str
    detail: str
    remedy: str
    status: int | None = None


def ask(hub: str, model: str, revision: str, token: str, variable: str, timeout: float) -> Refusal | None:
    """Ask as a download does, for one small file. C(variable) is what the user calls the token."""
    hub = hub.rstrip("/")
    url = f"{hub}/{model}/resolve/{revision}/{FILE}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        # the redirect to where the files lie is an answer, and not to be followed with the token
        with requests.head(url, auth=Headers(headers), timeout=timeout, allow_redirects=False) as response:
            return refusal(response.status_code, response.headers, hub, model, revision, variable, bool(token))
    except requests.exceptions.RequestException as error:
        found = unreachable(error, url, (timeout, timeout))
        return Refusal("unreachable", found.detail, "Check the way from the host to the hub, or set HF_ENDPOINT and HTTPS_PROXY in nemoclaw_vllm.env.")


def refusal(status: int, headers: t.Mapping[str, str], hub: str, model: str, revision: str, variable: str, has_token: bool) -> Refusal | None:
    """What an answer means; the hub says more in C(X-Error-Code) than in the status. Pure."""
    code, words = headers.get("X-Error-Code", ""), " ".join(headers.get("X-Error-Message", "").split())[:WORDS]
    said = f"{hub} answers {status} for {model}" + (f": {words}" if words else "")
    if status < 400 or code == "EntryNotFound":
        return None
    if status == 401 and has_token:
        return Refusal("unauthorized", said, f"Set {variable} to a token that is valid.", status)
    if status == 401 and code == "GatedRepo":
        return Refusal("unauthorized", said, f"Accept the model's licence at {hub}/{model}, and set {variable} to a token of that account.", status)
    if status == 403:
        remedy = f"Accept the model's licence at {hub}/{model} with the account of {variable}, and let the token read gated repositories."
        return Refusal("forbidden", said, remedy, status)
    if code == "RevisionNotFound":
        return Refusal("not_found", f"{hub} has no revision {revision} of {model}", "Have the mirror fetch this revision, or choose another model.", status)
    if status in (401, 404):
        return Refusal("not_found", said, f"Have the mirror fetch the model; a private one takes a token in {variable}.", status)
    return Refusal("unreachable", said, "Try again later, or set HF_ENDPOINT in nemoclaw_vllm.env to a mirror.", status)
