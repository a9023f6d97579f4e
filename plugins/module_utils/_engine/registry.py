# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry, asked without the engine: whether it takes credentials, and which manifest a reference means. Private to the collection."""

from __future__ import annotations

import datetime
import email.utils
import glob
import hashlib
import ipaddress
import json
import ssl
import time
import typing as t
from urllib.parse import urlsplit

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine import manifests
from ansible_collections.nemoclaw.fleet.plugins.module_utils._headers import Headers
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.progress import Progress
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import endpoint
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.url import is_loopback

try:
    import requests
    import requests.adapters
    import urllib3
except ImportError:
    requests = None

LIMITS = (10, 30)  # seconds to connect, and without a byte
LARGEST = 4 << 20  # bytes of a manifest or an answer
CERTIFICATES = "/etc/docker/certs.d"
SKEW = 60  # seconds between two clocks that make a token bad
TRIES = 4  # of a login
BACKOFF = 5  # seconds to wait where a registry does not say


class RegistryError(ResourceError):
    """C(kind): unauthorized, forbidden, token, missing, limited, unreachable, tls, failed. C(wait) are seconds to wait when limited."""

    def __init__(self, kind: str, message: str, remedy: str = "", wait: float = 0) -> None:
        super().__init__(message, remedy)
        self.kind = kind
        self.wait = wait


class Manifest(t.NamedTuple):
    digest: str
    kind: str
    body: dict[str, t.Any]


class _Trusting(requests.adapters.HTTPAdapter if requests else object):
    """Trusts the authorities that the engine trusts for this registry, besides the host's own."""

    def __init__(self, files: list[str]) -> None:
        self._files = files
        super().__init__()

    def init_poolmanager(self, *args: t.Any, **options: t.Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context(), **options)

    def proxy_manager_for(self, proxy: str, **options: t.Any) -> t.Any:
        """A proxy that opens TLS is why many hosts have such a file."""
        return super().proxy_manager_for(proxy, ssl_context=self._context(), **options)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        for file in self._files:
            context.load_verify_locations(file)
        return context


class Registry:
    """A registry by C(host[:port]). C(info) is the engine's own account of itself, which knows proxies and insecure registries; empty without one."""

    def __init__(self, host: str, username: str = "", password: str = "", info: dict[str, t.Any] | None = None) -> None:
        if requests is None:
            raise ResourceError("Python's requests module is missing on this host.", "Run 'apt-get install python3-docker python3-requests'.")
        self.host, self.username, self.password, self.info = host, username, password, info or {}
        self._base = ""
        self._token = ""

    def check(self) -> None:
        """That the credentials are good; a registry that a whole fleet asks at once may want it a little later. Raises RegistryError."""
        for tries in range(TRIES):
            try:
                answer = self._get("/v2/", "")
                break
            except RegistryError as error:
                if error.kind != "limited" or tries + 1 == TRIES:
                    raise
                Progress(f"login {self.host}").say(f"{error.message} Again in {error.wait:.0f} s.", at_once=True)
                time.sleep(error.wait)
        if answer.status_code >= 400:
            raise self._refused(answer, f"{self.host} does not let {self.username or 'nobody'} in")

    def manifest(self, repository: str, reference: str) -> Manifest:
        """The manifest or index of a tag or digest; C(repository) with or without the registry. Raises RegistryError."""
        name = repository[len(self.host) + 1 :] if repository.startswith(f"{self.host}/") else repository
        answer = self._get(f"/v2/{name}/manifests/{reference}", f"repository:{name}:pull", ", ".join(manifests.INDEXES + manifests.MANIFESTS))
        if answer.status_code != 200:
            raise self._refused(answer, f"{self.host} does not give {name}:{reference}")
        try:
            body = json.loads(answer.content)
        except ValueError:
            raise RegistryError("failed", f"{self.host} answers for {name}:{reference} with something that is no manifest.") from None
        digest = answer.headers.get("Docker-Content-Digest") or f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        return Manifest(digest, answer.headers.get("Content-Type", "").partition(";")[0].strip(), body)

    # --- requests -------------------------------------------------------------------------------------------------------------------------

    def _get(self, path: str, scope: str, accept: str = "application/json") -> t.Any:
        answer = self._ask(path, accept, f"Bearer {self._token}" if self._token else "")
        if answer.status_code != 401:
            return answer
        wanted = manifests.challenge(answer.headers.get("WWW-Authenticate", ""))
        if wanted.scheme == "basic":
            return self._ask(path, accept, self._basic())
        if wanted.scheme != "bearer" or not wanted.values.get("realm"):
            return answer
        realm = wanted.values["realm"]
        self._token = self._fetch_token(realm, wanted.values.get("service", ""), wanted.values.get("scope") or scope)
        answer = self._ask(path, accept, f"Bearer {self._token}")
        if answer.status_code == 401:
            raise self._distrusted(answer, realm)
        return answer

    def _ask(self, path: str, accept: str, authorization: str) -> t.Any:
        """From the registry over TLS; one that the engine takes for insecure may speak plain HTTP or have any certificate."""
        if self._base:
            return self._send(f"{self._base}{path}", accept, authorization)
        try:
            answer, base = self._send(f"https://{self.host}{path}", accept, authorization), "https"
        except RegistryError as error:
            if error.kind not in ("tls", "unreachable") or not self._insecure():
                raise
            answer, base = self._send(f"http://{self.host}{path}", accept, authorization), "http"
        self._base = f"{base}://{self.host}"
        return answer

    def _send(self, url: str, accept: str, authorization: str, parameters: dict[str, str] | None = None) -> t.Any:
        host = urlsplit(url).netloc
        with requests.Session() as session:
            session.trust_env = False
            session.proxies = self._proxies(url)
            verify = not (self._insecure() and host == self.host)
            if verify and (files := sorted(glob.glob(f"{CERTIFICATES}/{glob.escape(host)}/*.crt"))):
                session.mount("https://", _Trusting(files))
            try:
                auth = Headers({"Authorization": authorization} if authorization else {})
                answer = session.get(url, params=parameters, headers={"Accept": accept}, auth=auth, timeout=LIMITS, verify=verify, stream=True)
                answer._content = answer.raw.read(LARGEST, decode_content=True)
            except requests.exceptions.RequestException as error:
                raise self._unreachable(endpoint.unreachable(error, url, LIMITS), host) from None
            except (OSError, urllib3.exceptions.HTTPError) as error:
                raise RegistryError("unreachable", f"The connection to {host} broke off: {error}.", "Try again; see the network to it.") from None
        if answer.status_code == 429:
            wait = manifests.retry_after(answer.headers.get("Retry-After"), datetime.datetime.now(datetime.timezone.utc), BACKOFF)
            raise RegistryError("limited", f"{host} limits the number of requests{_said(answer)}.", "Wait, or use credentials or a mirror.", wait)
        return answer

    def _fetch_token(self, realm: str, service: str, scope: str) -> str:
        if urlsplit(realm).scheme != "https" and self._base.startswith("https:") and self.password:
            raise RegistryError("failed", f"{self.host} sends its users to {realm}, which is not encrypted.", "Ask its operator.")
        parameters = {key: value for key, value in (("service", service), ("scope", scope), ("account", self.username)) if value}
        answer = self._send(realm, "application/json", self._basic(), parameters)
        if answer.status_code >= 400:
            raise self._refused(answer, f"{self.host} does not accept the credentials of {self.username or 'nobody'}")
        try:
            body = json.loads(answer.content)
            return str(body.get("token") or body["access_token"])
        except (ValueError, KeyError, AttributeError):
            raise RegistryError("failed", f"{realm} gave no token.", f"See whether {self.host} is a registry.") from None

    def _basic(self) -> str:
        return requests.auth._basic_auth_str(self.username.encode(), self.password.encode()) if self.password else ""

    def _insecure(self) -> bool:
        config = self.info.get("RegistryConfig") or {}
        if (config.get("IndexConfigs") or {}).get(self.host, {}).get("Secure") is False:
            return True
        try:
            address = ipaddress.ip_address((urlsplit(f"//{self.host}").hostname or "").replace("localhost", "127.0.0.1"))
        except ValueError:
            return False
        return any(address in ipaddress.ip_network(network) for network in config.get("InsecureRegistryCIDRs") or [])

    def _proxies(self, url: str) -> dict[str, str]:
        """The engine's own, else those of the environment; the engine shows no proxy that takes a password, and asks none for the loopback."""
        if is_loopback(urlsplit(url).hostname or ""):
            return {}
        named = {scheme: self.info.get(key) or "" for scheme, key in (("http", "HttpProxy"), ("https", "HttpsProxy"))}
        if not any(named.values()) or any("xxxxx" in proxy for proxy in named.values()):
            return requests.utils.get_environ_proxies(url)
        return {} if requests.utils.should_bypass_proxies(url, self.info.get("NoProxy") or "") else {key: value for key, value in named.items() if value}

    # --- what went wrong ------------------------------------------------------------------------------------------------------------------

    def _unreachable(self, failure: endpoint.Failure, host: str) -> RegistryError:
        if failure.kind == "tls":
            remedy = f"Put the CA of {host} into /usr/local/share/ca-certificates, run 'update-ca-certificates' and restart Docker."
            return RegistryError("tls", f"The registry {self.host} is not trusted: {failure.detail}.", remedy)
        remedy = f"Check name, network, firewall and proxy between this host and {host}."
        return RegistryError("unreachable", f"The registry {self.host} cannot be reached: {failure.detail}.", remedy)

    def _refused(self, answer: t.Any, what: str) -> RegistryError:
        kind = {401: "unauthorized", 403: "forbidden", 404: "missing"}.get(answer.status_code, "failed")
        hint = " For nvcr.io it is an NGC API key (nvapi-…), with the user $oauthtoken." if self.host == "nvcr.io" else ""
        remedy = {
            "unauthorized": f"Give a valid user and password of {self.host}.{hint}" if self.password else f"Give a user and a password of {self.host}.{hint}",
            "forbidden": "The credentials are known but may not do this: ask for access, or accept the licence of this image with the account they belong to.",
            "missing": "Check the name and the tag.",
        }.get(kind, "Try again later.")
        return RegistryError(kind, f"{what}: HTTP status {answer.status_code}{_said(answer)}.", remedy)

    def _distrusted(self, answer: t.Any, realm: str) -> RegistryError:
        """The credentials are good, a token was given for them, and the registry does not take the token."""
        about = manifests.challenge(answer.headers.get("WWW-Authenticate", "")).values.get("error", "")
        text = f"{self.host} does not accept the token that {urlsplit(realm).netloc} gave for good credentials{f' ({about})' if about else ''}"
        try:
            theirs = email.utils.parsedate_to_datetime(answer.headers["Date"])
            skew = (datetime.datetime.now(datetime.timezone.utc) - theirs).total_seconds()
        except (KeyError, TypeError, ValueError):
            skew = 0
        if abs(skew) > SKEW:
            remedy = "Correct the clock ('timedatectl set-ntp true')."
            return RegistryError("token", f"{text}: this host's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the registry's.", remedy)
        remedy = "Try again; if it stays so, the credentials may not pull this image."
        return RegistryError("token", f"{text}: it has expired, or is not for this image.", remedy)


def _said(answer: t.Any) -> str:
    """What the body says went wrong, in a few words."""
    try:
        body = json.loads(answer.content)
        errors = body.get("errors") or [body]
        text = str(errors[0].get("message") or errors[0].get("detail") or errors[0].get("details") or "")
    except (ValueError, AttributeError, IndexError, KeyError, TypeError):
        return ""
    return f": {text.strip().rstrip('.')[:200]}" if text else ""
