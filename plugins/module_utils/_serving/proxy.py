# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the proxy with a token: made on the host, tested by nginx itself, taken back when it does not work. Private to the collection.

A configuration is a directory C(conf-DIGEST) with all that nginx reads; C(conf) is a link to the one in force. Its digest is also what the running nginx
answers on its socket, so the one that is on disk and the one that runs can be told apart.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import hashlib
import http.client
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import secret_file
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import failure, systemctl
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import listeners, network
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks import ports
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import certificate

NGINX = "/usr/sbin/nginx"
MODE = 0o640
RELOAD_TIMEOUT = 15  # seconds, the draining of connections included
SELECTOR = 12  # digits of a token by which its digest is found; the rest stays 18 bytes that nobody can try


def accepted(tokens: t.Iterable[str], socket_path: str, digest: str, tls: bool) -> str:
    """What nginx includes: a digest for each token, none of which leads back to it, and where it says what it runs."""
    lines = ["map $http_authorization $expected {", '    default "";']
    for token in tokens:
        header = hashlib.md5(f"Bearer {token}".encode(), usedforsecurity=False).digest()  # nginx knows no other
        lines.append(f'    "~^Bearer {token[:SELECTOR]}" {base64.urlsafe_b64encode(header).decode().rstrip("=")};')
    lines += ["}", "server {", f"    listen unix:{socket_path};", f'    location / {{ return 200 "{digest}"; }}', "}"]
    lines += ["ssl_certificate server.crt;", "ssl_certificate_key server.key;", "ssl_session_cache shared:tls:1m;"] if tls else []
    return "\n".join(lines) + "\n"


def rebinds(before: str, after: str) -> bool:
    """Whether a port is bound to every address in only one of two configurations: nginx cannot bind both, so it cannot go from one to the other."""

    def everywhere(config: str) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for address, port in re.findall(r"^\s*listen ([0-9.]+):(\d+)", config, re.MULTILINE):
            found[port] = found.get(port, False) or address == "0.0.0.0"
        return found

    old, new = everywhere(before), everywhere(after)
    return any(old[port] != new[port] for port in old.keys() & new.keys())


class _Socket(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


def running(socket_path: str) -> str:
    """The digest of the configuration that nginx runs; empty where it does not run."""
    connection = _Socket(socket_path, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": "localhost"})
        return connection.getresponse().read().decode("ascii")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


class Proxy(Resource):
    """C({name, user, directory, runtime, config, listens, tokens, tls}): nginx has this configuration, lets in the token of each of those files that is
    there, and runs it. The unit is another resource; one that does not run is not started here. Neither state nor change holds a token.
    """

    kind = "proxy"

    @property
    def link(self) -> str:
        return os.path.join(self.desired["directory"], "conf")

    @property
    def socket(self) -> str:
        return os.path.join(self.desired["runtime"], "status.sock")

    def wanted(self) -> tuple[dict[str, str], str]:
        """The files of the configuration, and its digest."""
        tokens = [token for token in map(secret_file.read, self.desired["tokens"]) if token]
        tls = certificate.files(self.desired["tls"])
        files = {"nginx.conf": self.desired["config"], **tls}
        digest = hashlib.sha256("\0".join([*files.values(), *tokens]).encode()).hexdigest()[:16]
        return {**files, "accepted.conf": accepted(tokens, self.socket, digest, bool(tls))}, digest

    def read(self) -> dict[str, t.Any]:
        files, access = {}, set()
        for path in glob.glob(os.path.join(self.link, "*")):
            info = os.stat(path)
            access.add(f"{info.st_uid}:{info.st_gid} {stat.S_IMODE(info.st_mode):04o}")
            with open(path, encoding="utf-8", errors="replace") as stream:
                files[os.path.basename(path)] = stream.read()
        return {"files": files, "access": sorted(access), "running": running(self.socket)} if files else {}

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if self.absent:
            return [self.change("state", "present", "absent")] if state else []
        wanted, digest = self.wanted()
        found = state.get("files", {})
        changes = self.compare({"configuration": found.get("nginx.conf")}, {"configuration": wanted["nginx.conf"]})
        for name in ("accepted.conf", "server.crt", "server.key"):  # by their digests: what they hold is nobody's business
            before, after = (_digest(of.get(name)) for of in (found, wanted))
            changes += self.compare({name: before}, {name: after})
        if state and not changes:
            changes = self.compare(state, {"access": [f"0:{self._group()} {MODE:04o}"]})
        if state and not changes and state["running"] not in ("", digest):
            changes.append(self.change("running configuration", state["running"], digest))
        return changes

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        if self.absent:
            self._switch("")
            self._keep_only("")
            return
        self._refuse_strangers()
        if self.desired["tls"]:
            certificate.make(self.desired["tls"], self._addresses())
        files, digest = self.wanted()
        folder = self._written(files)
        try:
            self._test(folder)
        except ResourceError:
            shutil.rmtree(folder)
            raise
        before = os.readlink(self.link) if os.path.islink(self.link) else ""
        self._switch(folder)
        if state.get("running") or running(self.socket):
            found = state.get("files", {})  # none where somebody has removed them
            self._reload(digest, before, "restart" if rebinds(found.get("nginx.conf", ""), files["nginx.conf"]) else "reload")
        self._keep_only(folder)

    def _addresses(self) -> list[str]:
        """What an own certificate is for beside names: every address of the host, because most clients know no name of it."""
        there = network.local(Host().text("/proc/net/fib_trie"))
        return sorted({*there, *(listen["address"] for listen in self.desired["listens"])} - {"0.0.0.0", "::"})

    def _group(self) -> int:
        try:
            return pwd.getpwnam(self.desired["user"]).pw_gid
        except KeyError:
            return -1

    def _refuse_strangers(self) -> None:
        """Nobody else's program is stopped; it is named."""
        for port in listeners.read(Host(), self.desired["listens"]):
            for holder in port["listeners"]:
                if holder["unit"] != f"{self.name}.service":
                    raise ResourceError(
                        f"{port['address']}:{port['port']} is held by {ports.who(holder)}.", f"{ports.stop(holder, port['port'])} or choose another port."
                    )

    def _written(self, files: dict[str, str]) -> str:
        folder = tempfile.mkdtemp(prefix="conf-", dir=self.desired["directory"])
        for name, text in files.items():
            path = os.path.join(folder, name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chown(path, 0, self._group())
            os.chmod(path, MODE)
        os.chown(folder, 0, self._group())
        os.chmod(folder, 0o750)
        return folder

    def _test(self, folder: str) -> None:
        """As the user that runs it: what that one cannot read is found too."""
        account, runtime = pwd.getpwnam(self.desired["user"]), self.desired["runtime"]
        os.makedirs(runtime, mode=0o700, exist_ok=True)  # else the unit makes it
        os.chown(runtime, account.pw_uid, account.pw_gid)
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
            [NGINX, "-t", "-q", "-c", os.path.join(folder, "nginx.conf")], user=account.pw_uid, group=account.pw_gid, extra_groups=[],
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False,
        )  # fmt: skip
        if done.returncode:
            reasons = "; ".join(re.findall(r"\[emerg\] (?:\d+#\d+: )?(.*)", done.stderr)) or done.stderr.strip()
            lacking = 'directive "secure_link' in reasons
            remedy = "Install an nginx with that module: the package nginx-extras has it." if lacking else "The one from before is in force."
            raise ResourceError(f"nginx refuses the configuration: {reasons[-500:]}", remedy)

    def _switch(self, folder: str) -> None:
        """To another configuration; an empty one is none."""
        temporary = f"{self.link}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary if folder else self.link)
        if not folder:
            return
        os.symlink(os.path.basename(folder), temporary)
        os.replace(temporary, self.link)

    def _reload(self, digest: str, before: str, how: str) -> None:
        """After a reload open streams go on in the workers from before, until they end."""
        unit, began = f"{self.name}.service", time.time()
        systemctl(how, unit, check=how == "reload")
        while running(self.socket) != digest:
            if time.time() > began + RELOAD_TIMEOUT:
                self._switch(before)
                if how == "restart":
                    systemctl(how, unit, check=False)
                raise failure(unit, began, "nginx does not take the new configuration; the one from before is in force.")
            time.sleep(0.2)

    def _keep_only(self, folder: str) -> None:
        for other in glob.glob(f"{self.link}-*"):
            if other != folder:
                shutil.rmtree(other)


def _digest(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:12]
