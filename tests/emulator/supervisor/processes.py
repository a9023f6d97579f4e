# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of the workload: as the sandbox user, in its network, under its filesystem policy, with the environment of the real ones."""

from __future__ import annotations

import contextlib
import glob
import grp
import os
import pwd
import socket
import subprocess
import threading

from . import landlock, network, wire

PROXY_URL = f"http://{network.PROXY_ADDRESS}:{network.PROXY_PORT}"
LOCAL = "127.0.0.1,localhost,::1"
CA, BUNDLE = "/etc/openshell-tls/openshell-ca.pem", "/etc/openshell-tls/ca-bundle.pem"
SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
FIXED = {
    "ALL_PROXY": PROXY_URL,
    "HTTP_PROXY": PROXY_URL,
    "HTTPS_PROXY": PROXY_URL,
    "http_proxy": PROXY_URL,
    "https_proxy": PROXY_URL,
    "grpc_proxy": PROXY_URL,
    "NO_PROXY": LOCAL,
    "no_proxy": LOCAL,
    "NODE_USE_ENV_PROXY": "1",
    "NODE_EXTRA_CA_CERTS": CA,
    "DENO_CERT": CA,
    "SSL_CERT_FILE": BUNDLE,
    "REQUESTS_CA_BUNDLE": BUNDLE,
    "CURL_CA_BUNDLE": BUNDLE,
    "GIT_SSL_CAINFO": BUNDLE,
}


def gpu_paths():
    """What a workload needs of the container's GPUs, in the real supervisor's order."""
    devices = sorted(glob.glob("/dev/nvidia[0-9]*"))
    common = [path for path in ("/dev/nvidiactl", "/dev/nvidia-uvm") if os.path.exists(path)]
    return [*common, "/proc", *devices] if devices else []


def trust(ca_pem):
    """Writes the CA that signs what the proxy shows, alone and together with the system's."""
    os.makedirs(os.path.dirname(CA), mode=0o755, exist_ok=True)
    system = next((path for path in SYSTEM_BUNDLES if os.path.exists(path)), None)
    with open(CA, "w", encoding="ascii") as file:
        file.write(ca_pem)
    with open(BUNDLE, "w", encoding="utf-8") as file:
        if system:
            with open(system, encoding="utf-8") as bundle:
                file.write(bundle.read())
        file.write(ca_pem)


class Workload:
    """Starts processes. `user_environment` is what `create --env` gave; credentials are placeholders that come with the configuration."""

    def __init__(self, namespace, image_user, workdir, user_environment):
        self.namespace, self.image_user, self.workdir = namespace, image_user, workdir
        self.user_environment, self.credentials, self.policy = user_environment, {}, {}

    def identity(self):
        """(uid, gid, user name, home)"""
        process = self.policy.get("process") or {}
        user = process.get("run_as_user") or self.image_user.partition(":")[0] or "sandbox"
        group = process.get("run_as_group")
        try:
            entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
            uid, gid, name = entry.pw_uid, entry.pw_gid, entry.pw_name
        except KeyError:
            uid, gid, name = int(user), int(user), user
        if group:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        return uid, gid, name, self.workdir

    def environment(self, term="dumb"):
        _uid, _gid, name, home = self.identity()
        return {
            "OPENSHELL_SANDBOX": "1",
            "HOME": home,
            "USER": name,
            "SHELL": "/bin/bash",
            "PATH": os.environ.get("PATH", os.defpath),
            "TERM": term,
            **self.user_environment,
            **FIXED,
            **self.credentials,
        }

    def ruleset(self):
        files = self.policy.get("filesystem_policy") or {}
        read_write = [*files.get("read_write", ()), *([self.workdir] if files.get("include_workdir") else ()), *gpu_paths()]
        return landlock.ruleset(files.get("read_only", ()), read_write) if files else None

    def start(self, argv, **streams):
        uid, gid, _name, _home = self.identity()
        rules = self.ruleset()

        def become():
            network.enter(self.namespace)
            os.setgroups([gid])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.umask(0o022)
            landlock.restrict(rules)

        try:
            return subprocess.Popen(argv, cwd=self.workdir, env=self.environment(), preexec_fn=become, **streams)
        finally:
            if rules is not None:
                os.close(rules)

    # -- streams ------------------------------------------------------------------------------------------------------------------

    def run(self, sock, request):
        """Runs a shell command for one stream. A client that goes away does not end the process; a timeout does not either."""
        pipe = subprocess.PIPE
        try:
            process = self.start(["/bin/bash", "-lc", request["command"]], stdin=pipe, stdout=pipe, stderr=pipe)
        except (OSError, subprocess.SubprocessError) as error:
            wire.send_json(sock, wire.EXIT, {"refusal": ["INTERNAL", f"failed to start: {error}"]})
            return
        lock = threading.Lock()
        readers = [
            threading.Thread(target=_pump, args=(stream, sock, kind, lock), daemon=True)
            for stream, kind in ((process.stdout, wire.DATA), (process.stderr, wire.ERRORS))
        ]
        for thread in (*readers, threading.Thread(target=_feed, args=(sock, process.stdin), daemon=True)):
            thread.start()
        try:
            code = process.wait(request.get("timeout") or None)
        except subprocess.TimeoutExpired:
            code = 124
        else:
            for reader in readers:
                reader.join()
        with lock:
            try:
                wire.send_json(sock, wire.EXIT, {"code": code if code >= 0 else 1})
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def connect(self, sock, port, host="127.0.0.1"):
        """A TCP stream to a port of the workload. Sockets are made inside its namespace by a thread that enters it."""
        try:
            target = self.socket_inside(host, port)
        except OSError as error:
            wire.send_json(sock, wire.EXIT, {"refusal": ["UNAVAILABLE", f"connect {host}:{port}: {error.strerror}"]})
            return
        wire.send_json(sock, wire.HELLO, {})
        threading.Thread(target=_pump_socket, args=(target, sock), daemon=True).start()
        while frame := wire.receive(sock):
            if not frame[1]:
                break
            try:
                target.sendall(frame[1])
            except OSError:
                break
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def socket_inside(self, host, port):
        made = []

        def make():
            try:
                network.enter(self.namespace)
                made.append(socket.create_connection((host, port), 10))
                made[0].settimeout(None)
            except OSError as error:
                made.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]


def _pump(stream, sock, kind, lock):
    gone = False
    while data := os.read(stream.fileno(), 1 << 15):
        if gone:
            continue  # the client left; the process must not block on a full pipe
        try:
            with lock:
                wire.send(sock, kind, data)
        except OSError:
            gone = True
    stream.close()


def _feed(sock, stdin):
    try:
        while frame := wire.receive(sock):
            if not frame[1]:
                break
            os.write(stdin.fileno(), frame[1])
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            stdin.close()


def _pump_socket(source, sock):
    try:
        while data := source.recv(1 << 15):
            wire.send(sock, wire.DATA, data)
        wire.send(sock, wire.DATA)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
