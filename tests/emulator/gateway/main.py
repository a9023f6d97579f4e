# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""openshell-gateway: makes certificates, or serves until SIGTERM."""

from __future__ import annotations

import datetime
import os
import signal
import sys
import threading

from ..cli import clap, render
from ..errors import Failure, NotRecorded
from . import config

BUILTIN_DRIVERS = ("docker", "podman", "kubernetes", "vm")


def log(level, target, text):
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    print(f"{now} {level:>5} {target}: {text}", flush=True)


def main(words, _path):
    try:
        path, args = clap.parse("openshell-gateway", words)
        if path[1:] == ["generate-certs"]:
            return generate_certs(args)
        return serve(args)
    except clap.Usage as usage:
        sys.stderr.write(str(usage))
        return 2
    except Failure as failure:
        render.error(failure.message, failure.causes)
        return 1
    except NotRecorded as refusal:
        print(refusal, file=sys.stderr)
        return 70


def generate_certs(args):
    from . import certs

    if not args.output_dir:
        raise NotRecorded("openshell-gateway generate-certs without --output-dir")
    if args.dry_run or args.jwt_only:
        raise NotRecorded("openshell-gateway generate-certs --dry-run or --jwt-only")
    log("INFO", "openshell_server::certgen", certs.generate(args.output_dir, args.server_san or []))
    return 0


def state_dir():
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "openshell", "gateway")


def database(url):
    if not url:
        return os.path.join(state_dir(), "openshell.db")
    if not url.startswith("sqlite:"):
        raise NotRecorded(f"a database at {url}")
    return url.removeprefix("sqlite:").removeprefix("//").partition("?")[0]


class Settings:
    """Flags over environment over file over defaults."""

    def __init__(self, args):
        given = {argument.key for argument in args.given} | {
            key
            for key in ("port", "bind_address", "health_port", "drivers")
            if os.environ.get(
                {
                    "port": "OPENSHELL_SERVER_PORT",
                    "bind_address": "OPENSHELL_BIND_ADDRESS",
                    "health_port": "OPENSHELL_HEALTH_PORT",
                    "drivers": "OPENSHELL_DRIVERS",
                }[key]
            )
        }
        default = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "openshell", "gateway.toml")
        self.gateway, self.docker = config.load(args.config or (default if os.path.exists(default) else None))
        host, _colon, port = self.gateway.get("bind_address", "127.0.0.1:17670").rpartition(":")
        self.address = (args.bind_address if "bind_address" in given else host, int(args.port if "port" in given else port))
        health = self.gateway.get("health_bind_address")
        self.health = (health.rpartition(":")[0], int(health.rpartition(":")[2])) if health else None
        if "health_port" in given:
            self.health = (self.address[0], int(args.health_port)) if int(args.health_port) else None
        drivers = args.drivers if "drivers" in given else ",".join(self.gateway.get("compute_drivers", ()))
        self.drivers = drivers or "docker"
        self.plain = bool(args.disable_tls or self.gateway.get("disable_tls"))
        tls = dict(self.gateway.get("tls", {}))
        local = os.environ.get("OPENSHELL_LOCAL_TLS_DIR") or os.path.join(os.path.dirname(state_dir()), "tls")
        for key, flag, name in (
            ("cert_path", args.tls_cert, "server/tls.crt"),
            ("key_path", args.tls_key, "server/tls.key"),
            ("client_ca_path", args.tls_client_ca, "ca.crt"),
        ):
            tls[key] = flag or tls.get(key) or os.path.join(local, name)
        self.tls = tls
        self.jwt = self.gateway.get("gateway_jwt")
        self.database = database(args.db_url)


def serve(args):
    for flag in ("oidc_issuer", "compute_driver_socket", "grpc_rate_limit_requests"):
        if args.get(flag):
            raise NotRecorded(f"openshell-gateway --{flag.replace('_', '-')}")
    if args.metrics_port not in (None, "0"):
        raise NotRecorded("openshell-gateway --metrics-port")
    settings = Settings(args)
    if settings.plain:
        log("WARN", "openshell_server::cli", "TLS disabled — listening on plaintext HTTP")
        if not settings.jwt:
            log(
                "WARN",
                "openshell_server::cli",
                "Neither mTLS user auth nor OIDC nor sandbox JWT auth is configured — the gateway has no authentication mechanism",
            )
    elif not os.path.exists(settings.tls["cert_path"]):
        raise Failure("--tls-cert is required when TLS is enabled (use --disable-tls to skip)")
    log("INFO", "openshell_server::cli", f"Starting OpenShell server bind={settings.address[0]}:{settings.address[1]}")
    if "," in settings.drivers:
        raise Failure(f"configuration error: multiple compute drivers are not supported yet; configured drivers: {settings.drivers}")
    log("INFO", "openshell_server", f"Using compute driver driver={settings.drivers}")
    if settings.drivers not in BUILTIN_DRIVERS:
        raise Failure(f"configuration error: remote compute driver '{settings.drivers}' requires socket_path")
    if settings.drivers != "docker":
        raise NotRecorded(f"the compute driver {settings.drivers}")
    run(settings)
    return 0


def run(settings):
    from . import certs, inference, policies, providers, sandboxes, sessions, workspaces  # noqa: F401  (they register their calls)
    from .core import Gateway
    from .driver import Driver
    from .server import Health, HealthListener, Listener, tls_context

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    driver = Driver(settings.docker)
    log(
        "INFO",
        'driver.initialize{otel.name="driver.initialize" driver.name=docker}: openshell_server::compute',
        "Compute driver connected configured_driver=docker advertised_driver=docker in_tree=true",
    )
    log("INFO", "openshell_server", 'provider profile sources configured sources=["builtin", "user"]')
    fresh = not os.path.exists(settings.database)
    gateway = Gateway(driver, settings.database, state_dir())
    gateway.port = settings.address[1]
    gateway.signer = certs.signer(settings.jwt) if settings.jwt else None
    if fresh:
        log("INFO", "openshell_server", "Created default workspace")
    gateway.watch = sessions.Watch(gateway)
    gateway.watch.resume()
    context = None if settings.plain else tls_context(settings.tls)
    listeners = [Listener(settings.address, gateway, context)]
    where = "openshell_server::gateway_listener"
    log(
        "INFO",
        where,
        f'Gateway listener bound address={settings.address[0]}:{settings.address[1]} listener_purpose="primary" authorization_scope="full-multiplexed-api"',
    )
    if settings.address[0] == "127.0.0.1":
        listeners.append(Listener((driver.gateway_ip, settings.address[1]), gateway, context))
        log(
            "INFO",
            where,
            f'Gateway listener bound address={driver.gateway_ip}:{settings.address[1]} listener_purpose="compute-driver-callback" driver=docker '
            'reason=docker managed bridge gateway authorization_scope="sandbox-callable-grpc-only"',
        )
    log("INFO", "openshell_server::provider_refresh", "provider credential refresh worker started interval_seconds=60")
    health = HealthListener(settings.health, Health) if settings.health else None
    log(
        "INFO",
        "openshell_server",
        f"Health server listening address={settings.health[0]}:{settings.health[1]}" if health else "Health server disabled",
    )
    log("INFO", "openshell_server", "Metrics server disabled")
    log(
        "INFO",
        "openshell_server",
        "TLS disabled — accepting plaintext connections" if settings.plain else "TLS enabled — ALPN advertises h2 + http/1.1",
    )
    sweep = 'refresh{otel.name="refresh.provider_credentials" watched_count=0 due_count=0}: openshell_server::provider_refresh'
    log("INFO", sweep, "provider credential refresh worker sweep watched_count=0 due_count=0 rotation_requested_count=0")
    for listener in [*listeners, *([health] if health else [])]:
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    threading.Thread(target=gateway.watch.run, daemon=True).start()
    stopping.wait()
    gateway.watch.suspend()
    log("INFO", "openshell_server", "Gateway stopped")
    sys.stdout.flush()
    os._exit(0)
