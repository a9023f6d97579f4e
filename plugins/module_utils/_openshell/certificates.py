# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's certificates: that they do what they are for is tried, not inferred. Private to the collection."""

from __future__ import annotations

import os
import pwd
import shutil
import ssl
import stat
import subprocess
import time
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import systemctl
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource, ResourceError

TLS = ("ca.crt", "ca.key", "server/tls.crt", "server/tls.key", "client/tls.crt", "client/tls.key")
JWT = ("jwt/signing.pem", "jwt/public.pem", "jwt/kid")
DAY = 86400


def lifetime(directory: str, server_name: str) -> float:
    """When the first of CA, server and client certificate runs out, in seconds since the epoch.

    Server and client shake hands in memory: files that are missing, broken, of different authorities or without that name are an OSError (of which
    C(ssl.SSLError) is one).
    """
    path = {name: os.path.join(directory, name) for name in TLS}
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, side in ((server, "server"), (client, "client")):
        context.load_verify_locations(path["ca.crt"])
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(path[f"{side}/tls.crt"], path[f"{side}/tls.key"])
    # the last call of the server's side checks the client's certificate
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there, server_hostname=server_name), server.wrap_bio(there, back, server_side=True)]
    waiting = list(ends)
    for _turn in range(8):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    if waiting:
        raise OSError("server and client do not come to an end")
    found = [end.getpeercert() or {} for end in ends] + server.get_ca_certs()
    return min(ssl.cert_time_to_seconds(str(one["notAfter"])) for one in found)


def _pem(path: str) -> bool:
    with open(path, encoding="ascii", errors="replace") as stream:
        text = stream.read().strip()
    return text.startswith("-----BEGIN ") and text.endswith("-----")


def tokens_usable(directory: str) -> bool:
    """Whether the key is there that the tokens of sandboxes are signed with."""
    try:
        signing, public, kid = (os.path.join(directory, name) for name in JWT)
        return _pem(signing) and _pem(public) and os.path.getsize(kid) > 0
    except OSError:
        return False


def _tree(directory: str) -> dict[str, os.stat_result]:
    """The directory and all in it."""
    paths = [directory, *(os.path.join(top, name) for top, directories, files in os.walk(directory) for name in [*directories, *files])]
    return {path: os.lstat(path) for path in paths if os.path.lexists(path)}


class Certificates(Resource):
    """C({path, owner, bin_dir, server_name, days, unit, tokens}): certificates that work together and for C(days) more, readable by their owner alone.

    OpenShell's C(generate-certs) makes whole sets only, with a new authority each. So what is broken or runs out is replaced as a whole, and the gateway
    restarted: its start gives the new ones to its sandboxes too. The old ones lie beside until then, so that an interrupted exchange is found. The key of the
    sandboxes' tokens is kept: with another, no sandbox made before (it has a directory in C(tokens)) is let in again.
    """

    kind = "certificates"

    @property
    def name(self) -> str:
        return self.desired["path"]

    @property
    def _old(self) -> str:
        return f"{self.name}.old"

    def read(self) -> dict[str, t.Any]:
        if not os.path.isdir(self.name) and not os.path.isdir(self._old):
            return {}
        state: dict[str, t.Any] = {"problem": "", "expires": "", "soon": False, "open": self._open(), "exchanging": os.path.isdir(self._old)}
        try:
            missing = [name for name in TLS if not os.path.isfile(os.path.join(self.name, name))]
            if missing:
                return {**state, "problem": f"missing: {', '.join(missing)}"}
            ends = lifetime(self.name, self.desired["server_name"])
        except (OSError, ValueError) as error:
            return {**state, "problem": getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)}
        if not tokens_usable(self.name):
            return {**state, "problem": "the key of the sandboxes' tokens is missing or broken"}
        return {**state, "expires": time.strftime("%Y-%m-%d", time.gmtime(ends)), "soon": ends - time.time() < self.desired["days"] * DAY}

    def _open(self) -> list[str]:
        """What others than the owner may read, or own."""
        try:
            owner = self._account().pw_uid
        except KeyError:
            owner = -1
        return sorted(path for path, info in _tree(self.name).items() if info.st_uid != owner or stat.S_IMODE(info.st_mode) & 0o077)

    def _close(self, directory: str) -> None:
        account = self._account()
        for path, info in _tree(directory).items():
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
            if not stat.S_ISLNK(info.st_mode):
                os.chmod(path, 0o700 if stat.S_ISDIR(info.st_mode) else 0o600)

    def _account(self) -> pwd.struct_passwd:
        return pwd.getpwnam(self.desired["owner"])

    def diff(self, state: dict[str, t.Any]) -> list[Change]:
        if not state:
            return [self.change("state", "absent", "present")]
        changes = []
        if state["problem"]:
            changes.append(self.change("usable", state["problem"], "new ones"))
        elif state["soon"]:
            changes.append(self.change("expires", state["expires"], "renewed"))
        elif state["exchanging"]:
            changes.append(self.change("exchange", "interrupted", "finished"))
        if state["open"]:
            changes.append(self.change("open to others", state["open"], []))
        return changes

    def apply(self, state: dict[str, t.Any], changes: list[Change]) -> None:
        fields = {change.field for change in changes}
        if fields & {"state", "usable", "expires"}:
            self._renew()
        if "open to others" in fields:
            self._close(self.name)
        if fields - {"open to others"}:
            systemctl("try-restart", self.desired["unit"], check=False)
            shutil.rmtree(self._old, ignore_errors=True)

    def _renew(self) -> None:
        if not os.path.isdir(self.name) and os.path.isdir(self._old):  # interrupted between the two renames below
            os.rename(self._old, self.name)
        kept = os.path.join(self.name, "jwt") if tokens_usable(self.name) else ""
        if not kept and os.path.isdir(self.desired["tokens"]) and os.listdir(self.desired["tokens"]):
            raise ResourceError(
                f"{self.name}/jwt is missing or broken, and there are sandboxes whose tokens were signed with it: with a new key they would be useless.",
                "Put it back from a backup, or delete the sandboxes with their files: stop the gateway, remove their containers "
                f"(`docker ps -a --filter label=openshell.ai/sandbox-namespace`) and what is in {self.desired['tokens']}, and run again.",
            )
        new = self._generate()
        if kept:
            shutil.rmtree(os.path.join(new, "jwt"))
            shutil.copytree(kept, os.path.join(new, "jwt"))
        self._close(new)
        if os.path.isdir(self.name):
            shutil.rmtree(self._old, ignore_errors=True)
            os.rename(self.name, self._old)
        os.rename(new, self.name)

    def _generate(self) -> str:
        """A whole new set, in a directory beside."""
        new, account = f"{self.name}.new", self._account()
        shutil.rmtree(new, ignore_errors=True)
        program = os.path.join(self.desired["bin_dir"], "openshell-gateway")
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # a resource has no module to ask
                [program, "generate-certs", "--output-dir", new, "--server-san", self.desired["server_name"]],
                # it also copies the client's files to where a gateway called "openshell" would be looked for
                env={"PATH": "/usr/bin:/bin", "HOME": account.pw_dir, "XDG_CONFIG_HOME": f"{new}/unused", "XDG_STATE_HOME": f"{new}/unused"},
                user=account.pw_uid, group=account.pw_gid, extra_groups=[], umask=0o077, cwd="/",
                stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise ResourceError(f"{program}: {error}.", "Run the role nemoclaw.fleet.gateway, or set nemoclaw_openshell.") from None
        shutil.rmtree(f"{new}/unused", ignore_errors=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise ResourceError(f"{program} generate-certs: {said}", f"Is there space left, and may {account.pw_name} write to {os.path.dirname(new)}?")
        return new
