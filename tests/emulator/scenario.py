# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One scenario's world: directories, PKI, gateway, registration, model endpoints; and the calls made in it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from .normalise import of_run

IMAGE = "nf/sandbox:1"
NAMESPACE = "nf-replay"
NETWORK = "nf-replay"
ENDPOINT = "https://127.0.0.1:17670"
HEALTH = "127.0.0.1:17671"
PATIENCE = 60  # seconds a gateway may take, and an `until` that was fulfilled when recorded
GIVE_UP = 600  # seconds for any call
IMPATIENCE = 20  # seconds for an `until` that was never fulfilled when recorded, and for a call that never returned

CONFIG = """\
[openshell]
version = 1
[openshell.gateway]
compute_drivers = ["docker"]
bind_address = "127.0.0.1:17670"
health_bind_address = "{health}"
[openshell.gateway.tls]
cert_path = "{pki}/server/tls.crt"
key_path = "{pki}/server/tls.key"
client_ca_path = "{pki}/ca.crt"
[openshell.gateway.gateway_jwt]
signing_key_path = "{pki}/jwt/signing.pem"
public_key_path = "{pki}/jwt/public.pem"
kid_path = "{pki}/jwt/kid"
gateway_id = "nf-replay"
ttl_secs = 0
[openshell.gateway.mtls_auth]
enabled = true
[openshell.drivers.docker]
sandbox_namespace = "{namespace}"
network_name = "{network}"
default_image = "{image}"
image_pull_policy = "IfNotPresent"
grpc_endpoint = "https://host.openshell.internal:17670"
supervisor_bin = "{binaries}/openshell-sandbox"
guest_tls_ca = "{pki}/ca.crt"
guest_tls_cert = "{pki}/client/tls.crt"
guest_tls_key = "{pki}/client/tls.key"
enable_bind_mounts = true
"""


def docker(*words):
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False).stdout.split()


# What a transcript's own looks at Docker see: this replay's containers, not those of others on the same engine.
DOCKER = """\
#!/bin/sh
case $1 in ps) shift; exec {docker} ps --filter label=openshell.ai/sandbox-namespace={namespace} "$@" ;; esac
exec {docker} "$@"
"""


class Scenario:
    """Use as a context manager; `call` answers `{exit, stdout, stderr, seconds}` with run values as placeholders."""

    def __init__(self, header, binaries):
        self.header, self.binaries = header, binaries
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="nf"))
        self.dir.chmod(0o755)
        self.cwd = self.dir / "cwd"
        self.cwd.mkdir()
        (self.dir / "bin").mkdir()
        (self.dir / "bin/docker").write_text(DOCKER.format(docker=shutil.which("docker"), namespace=NAMESPACE))
        (self.dir / "bin/docker").chmod(0o755)
        self.env = {
            "PATH": f"{self.dir}/bin:{binaries}:{os.environ['PATH']}",
            "HOME": str(self.dir / "home"),
            "XDG_CONFIG_HOME": str(self.dir / "config"),
            "XDG_STATE_HOME": str(self.dir / "state"),
            "XDG_DATA_HOME": str(self.dir / "data"),
            "NO_COLOR": "1",
            "OPENSHELL_NO_BROWSER": "1",
            "LC_ALL": "C.UTF-8",
            "OPENSHELL_TELEMETRY_ENABLED": "false",
            "OPENSHELL_EMULATOR_PYTHON": sys.executable,
        }
        self.gateway, self.helpers, self.made_up = None, [], {}
        self.had_networks = set(docker("network", "ls", "--format", "{{.Name}}"))

    # -- the world ----------------------------------------------------------------------------------------------------------------

    def __enter__(self):
        for name in ("home", "config", "state", "data"):
            (self.dir / name).mkdir()
        self.clean_engine()
        try:
            if self.header["pki"]:
                self.make_pki()
            if self.header["gateway"]:
                self.gateway_start()
            if self.header["registered"]:
                self.register()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception):
        for helper in self.helpers:
            helper.kill()
            helper.wait()
        self.gateway_stop()
        for command in self.strays():
            os.kill(command, signal.SIGKILL)
        self.clean_engine()
        for network in {NETWORK, "openshell-docker"} - self.had_networks:
            docker("network", "rm", network)
        shutil.rmtree(self.dir, ignore_errors=True)

    def strays(self):
        """Processes of this scenario that outlived their call: those which have its directory in their environment."""
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if int(entry.name) != os.getpid() and f"XDG_CONFIG_HOME={self.dir}/".encode() in (entry / "environ").read_bytes():
                    yield int(entry.name)
            except (OSError, ValueError):
                continue

    @staticmethod
    def clean_engine():
        left = docker("ps", "-aq", "--filter", f"label=openshell.ai/sandbox-namespace={NAMESPACE}")
        if left:
            docker("rm", "-f", *left)

    def run(self, *argv, **options):
        done = subprocess.run(argv, env=self.env, cwd=self.cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)} failed: {done.stdout}{done.stderr}")

    def make_pki(self):
        self.run(
            str(self.binaries / "openshell-gateway"),
            "generate-certs",
            "--output-dir",
            str(self.dir / "pki"),
            "--server-san",
            "host.openshell.internal",
        )

    def register(self):
        gateways = self.dir / "config/openshell/gateways"
        shutil.copytree(gateways / "openshell/mtls", gateways / "nemoclaw/mtls")
        self.run(str(self.binaries / "openshell"), "gateway", "add", ENDPOINT, "--local", "--name", "nemoclaw")
        shutil.rmtree(gateways / "openshell")

    def gateway_start(self):
        config = self.dir / "gateway.toml"
        config.write_text(CONFIG.format(pki=self.dir / "pki", health=HEALTH, namespace=NAMESPACE, network=NETWORK, image=IMAGE, binaries=self.binaries))
        argv = [str(self.binaries / "openshell-gateway"), "--config", str(config), "--db-url", f"sqlite:{self.dir}/gateway.db?mode=rwc"]
        with open(self.dir / "gateway.log", "a") as log:
            self.gateway = subprocess.Popen(argv, env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(["curl", "-sf", "-o", "/dev/null", f"http://{HEALTH}/healthz"], check=False).returncode:
            if self.gateway.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway does not answer: {(self.dir / 'gateway.log').read_text()[-2000:]}")
            time.sleep(0.05)

    def gateway_stop(self):
        if self.gateway:
            self.gateway.terminate()
            try:
                self.gateway.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.gateway.kill()
                self.gateway.wait()
            self.gateway = None

    # -- its steps ----------------------------------------------------------------------------------------------------------------

    def do(self, what):
        """`gateway_stop|start|restart`, `sleep:S`, `echo:PORT [flags]`."""
        kind, _colon, rest = what.partition(":")
        if kind == "sleep":
            time.sleep(float(rest))
        elif kind == "echo":
            self.echo(rest)
        elif kind in ("gateway_stop", "gateway_start", "gateway_restart"):
            if kind != "gateway_start":
                self.gateway_stop()
            if kind != "gateway_stop":
                self.gateway_start()
        else:
            raise RuntimeError(f"unknown step: {what}")

    def echo(self, words):
        argv = [sys.executable, str(pathlib.Path(__file__).with_name("echo_server.py")), *shlex.split(words)]
        self.helpers.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        port = shlex.split(words)[0]
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/"], check=False).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the echo server does not listen on {port}")
            time.sleep(0.05)

    def call(self, step):
        for name, text in step.get("files", {}).items():
            (self.cwd / name).parent.mkdir(parents=True, exist_ok=True)
            (self.cwd / name).write_text(text)
        until, begin = step.get("until"), time.monotonic()
        patience = PATIENCE if until and until in step.get("stdout", until) + step.get("stderr", "") else IMPATIENCE
        while True:
            answer = self.once(step)
            if not until or until in answer["stdout"] + answer["stderr"] or time.monotonic() - begin > patience:
                return answer
            time.sleep(0.5)

    def once(self, step):
        argv = [self.actual(word) for word in step["argv"]]
        begin = time.monotonic()
        code, stdout, stderr = self.endless(argv, step) if step.get("exit") == "timeout" else self.ending(argv, step)
        answer = {"exit": code, "stdout": stdout.decode(errors="replace"), "stderr": stderr.decode(errors="replace")}
        self.learn(argv, answer)
        names = self.names(answer["stdout"] + answer["stderr"])
        shown = {stream: of_run(answer[stream], names) for stream in ("stdout", "stderr")}
        return {"exit": code, **shown, "seconds": round(time.monotonic() - begin, 1)}

    def ending(self, argv, step):
        """A call that ends; its streams are files, so that what it left running in the background is not waited for."""
        with open(self.dir / "stdout", "w+b") as out, open(self.dir / "stderr", "w+b") as err:
            process = self.start(argv, step, out, err)
            try:
                process.communicate(step.get("stdin", "").encode(), GIVE_UP)
                code = process.returncode
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = "timeout"
            out.seek(0)
            err.seek(0)
            return code, out.read(), err.read()

    def endless(self, argv, step):
        """A call that was seen never to return. Its streams are pipes: one that something keeps open is what `never` can mean."""
        process = self.start(argv, step, subprocess.PIPE, subprocess.PIPE)
        try:
            stdout, stderr = process.communicate(step.get("stdin", "").encode(), min(step.get("seconds", IMPATIENCE), IMPATIENCE))
            return process.returncode, stdout, stderr
        except subprocess.TimeoutExpired as expired:
            process.kill()
            process.wait()
            return "timeout", expired.stdout or b"", expired.stderr or b""

    def start(self, argv, step, out, err):
        return subprocess.Popen(argv, env={**self.env, **step.get("env", {})}, cwd=self.cwd, stdin=subprocess.PIPE, stdout=out, stderr=err)

    def actual(self, word):
        for value, placeholder in {str(self.dir): "<DIR>", str(self.binaries): "<BIN>"}.items():
            word = word.replace(placeholder, value)
        for name, placeholder in self.made_up.items():
            word = word.replace(placeholder, name)
        return word

    def names(self, text):
        bridges = self.bridges() if re.search(r"\d+\.\d+\.\d+\.1\b", text.replace("127.0.0.1", "")) else ()
        return {str(self.dir): "<DIR>", str(self.binaries): "<BIN>", **dict.fromkeys(bridges, "<BRIDGE>"), **self.made_up}

    @staticmethod
    def bridges():
        networks = [name for name in (NETWORK, "openshell-docker") if docker("network", "ls", "-q", "--filter", f"name=^{name}$")]
        return docker("network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}} {{end}}", *networks) if networks else []

    def learn(self, argv, answer):
        """Remember the name that `sandbox create` made up because none was given."""
        if argv[0] != "openshell" or "create" not in argv or "sandbox" not in argv:
            return
        given = next((argv[i + 1] for i, word in enumerate(argv[:-1]) if word == "--name"), "")
        if given or answer["exit"] != 0:
            return
        try:
            name = json.loads(answer["stdout"])["name"]
        except ValueError:
            words = re.sub(r"\x1b\[[0-9;]*m", "", answer["stdout"]).partition("Created sandbox:")[2].split()
            name = words[0] if words else None
        if name:
            self.made_up[name] = "<NAME>"
