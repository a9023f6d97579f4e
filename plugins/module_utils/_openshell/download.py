# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file by HTTP, on a host or on the controller. Private to the collection."""

from __future__ import annotations

import posixpath
import time
import typing as t
import urllib.parse

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError

try:
    import requests
except ImportError:
    requests = None

TRIES = 4
TIMEOUT = (20, 60)  # seconds to connect, and without a byte
LARGEST = 1 << 30  # bytes; the file is not verified before it is whole
PASSING = (408, 425, 429, 500, 502, 503, 504)
REMEDIES = {
    401: "Give its user and secret (nemoclaw_openshell.user, nemoclaw_openshell.credential).",
    403: "Give its user and secret (nemoclaw_openshell.user, nemoclaw_openshell.credential).",
    404: "Check nemoclaw_openshell.url, version and format: the file must lie there under the release's own name.",
    407: "The proxy wants a user and a password: name them in the environment's https_proxy.",
}


class Source(t.NamedTuple):
    """How a server is reached: C(proxy) instead of the environment's, C(ca) a PEM file, C(user) and C(secret), or the secret alone as a token."""

    proxy: str = ""
    ca: str = ""
    user: str = ""
    secret: str = ""

    def session(self) -> t.Any:
        session = requests.Session()
        if self.proxy:
            session.proxies = {"http": self.proxy, "https": self.proxy}
            session.trust_env = False  # no_proxy and others would have their say
        if self.secret:
            session.auth = (self.user, self.secret) if self.user else self._token
        return session

    def _token(self, request: t.Any) -> t.Any:
        request.headers["Authorization"] = f"Bearer {self.secret}"
        return request


class _Passing(Exception):
    """What may be gone the next time."""


def download(url: str, path: str, source: Source, largest: int = LARGEST) -> None:
    """Fetch a file, with retries. Its contents are for the caller to verify."""
    if requests is None:
        raise ResourceError("Python's requests module is missing.", "Run 'apt-get install python3-requests'.")
    with source.session() as session:
        for attempt in range(1, TRIES + 1):
            try:
                _fetch(session, url, path, source.ca, largest)
                return
            except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
                raise _failed(url, error) from None
            except (_Passing, requests.exceptions.ConnectionError, requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                if attempt == TRIES:
                    raise _failed(url, error) from None
                time.sleep(2 ** (attempt - 1))
            except requests.exceptions.RequestException as error:
                raise _failed(url, error) from None


def _fetch(session: t.Any, url: str, path: str, ca: str, largest: int) -> None:
    with session.get(url, stream=True, timeout=TIMEOUT, verify=ca or None) as answer:
        status = answer.status_code
        if status in PASSING:
            raise _Passing(f"HTTP status {status}")
        if status != 200:
            raise ResourceError(f"{url} cannot be downloaded: HTTP status {status}.", REMEDIES.get(status, "Check nemoclaw_openshell.url."))
        written, progress = 0, Progress(f"download {posixpath.basename(urllib.parse.urlsplit(url).path)}")
        expected = int(answer.headers.get("Content-Length", 0))
        with open(path, "wb") as target:
            for block in answer.iter_content(1 << 20):
                written += len(block)
                if written > largest:
                    raise ResourceError(f"{url} is larger than {largest >> 20} MiB.", "Check nemoclaw_openshell.url.")
                target.write(block)
                progress.fetched(written, expected)
        if written < expected:
            raise _Passing(f"only {written} of {expected} bytes came")


def _failed(url: str, error: Exception) -> ResourceError:
    if isinstance(error, requests.exceptions.SSLError):
        return ResourceError(f"{url} cannot be downloaded: {_reason(error)}.", "Give the certificate of its authority (nemoclaw_openshell.ca).")
    remedy = "Check nemoclaw_openshell.url and proxy. A host without a way out takes download_by: controller, or source: archive."
    return ResourceError(f"{url} cannot be downloaded: {_reason(error)}.", remedy)


def _reason(error: t.Any) -> str:
    """The innermost reason; the outer ones repeat it together with addresses of objects."""
    while isinstance(getattr(error, "reason", None), Exception) or (error.args and isinstance(error.args[0], Exception)):
        error = error.reason if isinstance(getattr(error, "reason", None), Exception) else error.args[0]
    return str(error).rpartition(">: ")[2].rstrip(".")
