# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's hold on running sandboxes: one session a supervisor, and the watch over containers that others start, kill or remove."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time

from ..policy import load, rules, schema
from ..supervisor import wire
from . import effective
from .core import now_ms

# How long the real supervisor takes to notice a change: it asks for its policy and credentials every 10 s, for its routes every 5 s.
POLICY_SECONDS = float(os.environ.get("OPENSHELL_EMULATOR_POLL_SECONDS", 10))
ROUTE_SECONDS = POLICY_SECONDS / 2
SWEEP_SECONDS = 1
UNCLASSIFIED = (
    "CONFIG:FAIL_CLOSED [HIGH] Rejected provider environment refresh; static provider credentials were revoked; fetched dynamic token "
    "grants remain active: provider environment contains an unclassified credential key"
)


def hello(address, token, **fields):
    sock = socket.create_connection(address, 5)
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire.send_json(sock, wire.HELLO, {"token": token, **fields})
    return sock


class Session:
    """Connects to one supervisor, configures it, and follows it until it ends."""

    def __init__(self, gateway, sandbox):
        self.gateway, self.id = gateway, sandbox["id"]
        self.address, self.sock, self.ended = None, None, threading.Event()
        self.sent, self.serial, self.kept, self.revoked, self.fault = {}, 0, None, None, None
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            self.sock = self.connect()
            if self.sock:
                self.follow()
        except (OSError, ValueError):
            pass
        finally:
            self.ended.set()
            if self.sock:
                self.sock.close()
            with self.gateway.lock:
                if self.gateway.sessions.get(self.id) is self:
                    del self.gateway.sessions[self.id]
            self.gateway.lost(self.id)

    def connect(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not self.gateway.closing.is_set():
            sandbox = self.gateway.by_id(self.id)
            self.address = sandbox and self.gateway.driver.address(sandbox)
            if not self.address:
                return None
            try:
                return hello(self.address, sandbox["token"], **{"for": "session"})
            except OSError:
                time.sleep(0.03)
        return None

    def follow(self):
        kind, payload = wire.receive(self.sock) or (None, None)
        if kind != wire.HELLO:
            return
        self.adopt(json.loads(payload))
        self.push(policy=True)
        threading.Thread(target=self.tick, daemon=True).start()
        while frame := wire.receive(self.sock):
            data = json.loads(frame[1])
            if frame[0] == wire.CONFIG:
                self.applied(data["serial"])
            elif frame[0] == wire.ASK:
                wire.send_json(self.sock, wire.ASK, {"id": data["id"], "pem": self.gateway.sign(data["host"])})
            elif frame[0] == wire.LOG:
                self.take_logs(data)

    def adopt(self, found):
        """The supervisor's part in the policy: the image's own or the default where none was given, and the paths it cannot do without."""
        with self.gateway.lock:
            sandbox = self.gateway.by_id(self.id)
            if not sandbox["revisions"]:
                policy = schema.parse(found["policy"]) if found["policy"] else rules.DEFAULT
                policy = rules.enriched(policy, found["paths"].__contains__, found["gpus"], default=True)
                sandbox["spec"]["policy"] = policy
                add_revision(sandbox, policy)
            else:
                newest = sandbox["revisions"][-1]["policy"]
                enriched = rules.enriched(newest, found["paths"].__contains__, found["gpus"])
                if enriched is not newest:
                    add_revision(sandbox, enriched)
            self.gateway.save(sandbox)

    def push(self, policy=False):
        """Sends what changed; policy and credentials only when their time has come."""
        with self.gateway.lock:
            sandbox = self.gateway.by_id(self.id)
            if sandbox is None:
                return
            data = dict(self.sent)
            routes = effective.routes(self.gateway, sandbox["workspace"])
            data["routes"], data["ca"] = data.get("routes", []) if routes is None else routes, self.gateway.ca_pem()
            if policy:
                base = effective.base_policy(self.gateway, sandbox)
                policy = effective.composed(self.gateway, sandbox, base)
                self.fault = load.load_fault(policy)
                # A policy that cannot be loaded closes every way out.
                data["policy"], data["version"] = (
                    {**policy, "network_policies": {}} if self.fault else policy,
                    sandbox["revisions"][-1]["version"],
                )
                self.refresh_credentials(sandbox, base, data)
            if data == self.sent:
                return
            self.sent = data
            self.serial += 1
            wire.send_json(self.sock, wire.CONFIG, {**data, "serial": self.serial})
            data.pop("note", None)

    def refresh_credentials(self, sandbox, base, data):
        """A set with one credential that no endpoint claims revokes all; the set that was good before does not come back by itself."""
        fresh = effective.credentials(self.gateway, sandbox, base)
        if fresh is None:
            if self.kept != "revoked":
                data["note"] = UNCLASSIFIED
            self.revoked = self.kept["revision"] if isinstance(self.kept, dict) else self.revoked
            self.kept = "revoked"
        elif fresh["revision"] != self.revoked or self.kept != "revoked":
            self.kept, self.revoked = fresh, None
        data["credentials"] = self.kept if isinstance(self.kept, dict) else None

    def applied(self, serial):
        with self.gateway.lock:
            sandbox = self.gateway.by_id(self.id)
            if sandbox is None or serial != self.serial:
                return
            self.settle(sandbox)
            if sandbox["phase"] != "Ready" and self.id not in self.gateway.busy:
                sandbox["phase"] = "Ready"
            self.gateway.save(sandbox)

    def settle(self, sandbox):
        for one in sandbox["revisions"]:
            if one["version"] == self.sent["version"] and one["status"] == "pending":
                one["status"], one["loaded_ms"], one["error"] = ("failed", 0, self.fault) if self.fault else ("loaded", now_ms(), "")
            elif one["version"] < self.sent["version"] and one["status"] in ("pending", "loaded"):
                one["status"] = "superseded"
        if not self.fault:
            sandbox["active_version"] = self.sent["version"]

    def tick(self):
        count = 0
        while not self.ended.wait(ROUTE_SECONDS):
            count += 1
            try:
                self.push(policy=count % 2 == 0)
            except OSError:
                return

    def take_logs(self, lines):
        for line in lines:
            at, level, target, text = line.split(" ", 3)
            self.gateway.log(self.id, target, text, level, "sandbox", float(at))


def add_revision(sandbox, policy):
    """Appends a policy revision (pending) and returns it."""
    revision = {
        "version": len(sandbox["revisions"]) + 1,
        "policy": policy,
        "hash": schema.digest(policy),
        "status": "pending",
        "created_ms": now_ms(),
        "loaded_ms": 0,
    }
    sandbox["revisions"].append(revision)
    return revision


class Watch:
    """Compares containers with records every second: adopts what runs, marks what died, drops what was removed."""

    def __init__(self, gateway):
        self.gateway = gateway
        gateway.lost = self.lost

    def resume(self):
        """After a start of the gateway: starts the containers of sandboxes that ran when it stopped."""
        waiting = []
        for sandbox in self.gateway.sandboxes():
            if sandbox["phase"] in ("Ready", "Provisioning", "Starting"):
                self.gateway.busy.add(sandbox["id"])
                waiting.append(self.gateway.change(sandbox["id"], phase="Provisioning"))

        def start():
            time.sleep(0.3)
            for sandbox in waiting:
                try:
                    self.gateway.driver.start(sandbox)
                except Exception as error:  # one broken container must not keep the others down
                    print(f"cannot start sandbox {sandbox['name']}: {error}", flush=True)
                self.gateway.busy.discard(sandbox["id"])
            self.sweep()

        threading.Thread(target=start, daemon=True).start()

    def suspend(self):
        """Before the gateway ends: stops what runs, remembering that it ran."""
        self.gateway.closing.set()
        threads = []
        for sandbox in self.gateway.sandboxes():
            if sandbox["phase"] in ("Ready", "Provisioning", "Starting"):
                threads.append(threading.Thread(target=self.gateway.driver.stop, args=(sandbox,)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def run(self):
        while not self.gateway.closing.wait(SWEEP_SECONDS):
            try:
                self.sweep()
            except Exception as error:  # the engine may be restarting
                print(f"cannot look at the containers: {error}", flush=True)

    def sweep(self):
        # Records before containers: what began in between is left to the next sweep, nothing is judged by an older look at the engine.
        with self.gateway.lock:
            settled = [sandbox for sandbox in self.gateway.sandboxes() if sandbox["id"] not in self.gateway.busy]
        states = self.gateway.driver.states()
        for sandbox in settled:
            state = states.get(sandbox["id"])
            with self.gateway.lock:
                now = self.gateway.by_id(sandbox["id"])
                if self.gateway.closing.is_set() or sandbox["id"] in self.gateway.busy or now is None or now["phase"] != sandbox["phase"]:
                    continue
                if state == "running":
                    self.attach(sandbox)
                elif state is None and not sandbox["error"]:
                    self.forget(sandbox)
                elif state is not None and sandbox["phase"] in ("Ready", "Provisioning", "Starting"):
                    self.gateway.change(sandbox["id"], phase="Error")
                    self.gateway.log(sandbox["id"], "openshell_server::compute", "Container exited", "WARN")

    def attach(self, sandbox):
        """Not one whose token was signed by an earlier key: its supervisor is refused for good."""
        with self.gateway.lock:
            if sandbox["id"] not in self.gateway.sessions and sandbox.get("signer") == self.gateway.signer:
                self.gateway.sessions[sandbox["id"]] = Session(self.gateway, sandbox)

    def forget(self, sandbox):
        with self.gateway.lock:
            self.gateway.store.delete("sandbox", sandbox["id"])
            self.gateway.logs.pop(sandbox["id"], None)

    def lost(self, _sandbox_id):
        """A session ended: look at once instead of at the next sweep."""
        if not self.gateway.closing.is_set():
            threading.Timer(0.2, self._sweep_quietly).start()

    def _sweep_quietly(self):
        with contextlib.suppress(Exception):  # the next sweep says it
            self.sweep()
