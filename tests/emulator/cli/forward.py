# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`forward …`: local ports to a sandbox's; `service …`: the gateway's URLs for them; `ssh-proxy`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from ..errors import Failure, NotRecorded, Refusal
from ..supervisor import wire
from . import registration, render
from .sandbox import ready

CHECK_SECONDS = 2


def _pid_file(name, port):
    return os.path.join(registration.config_home(), "forwards", f"{name}-{port}.pid")


def _forwards():
    """[(sandbox, bind address, port, pid, alive)] of this user's background forwards."""
    home = os.path.join(registration.config_home(), "forwards")
    found = []
    for file in sorted(os.listdir(home)) if os.path.isdir(home) else ():
        name, _dash, port = file.removesuffix(".pid").rpartition("-")
        pid, _sandbox_id, bind = (registration.read(os.path.join(home, file)) or "0\t\t").split("\t")
        found.append((name, bind, int(port), int(pid), _alive(int(pid))))
    return found


def _alive(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return pid > 0


def _parse(spec, problem):
    bind, _colon, port = spec.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise Failure(problem)
    return bind or "127.0.0.1", int(port)


def _url(bind, port):
    return f"http://{'127.0.0.1' if bind == '0.0.0.0' else bind}:{port}/"


# -- start, stop, list ----------------------------------------------------------------------------------------------------------------


def forward_start(context):
    args = context.args
    bind, port = _parse(args.port, f"invalid forward spec '{args.port}': expected [bind_address:]port")
    name = context.sandbox_name(args.name)
    for other, _bind, taken, _pid, alive in _forwards():
        if taken == port and alive:
            raise Failure(f"Port {port} is already forwarded to sandbox '{other}'.\nStop it with: openshell forward stop {port} {other}")
    _free(bind, port)
    sandbox = ready(context, name)
    if not args.background:
        render.done_aside(f"Forwarding port {port} to sandbox {name}\n  Access at: {_url(bind, port)}\n  Press Ctrl+C to stop")
        return _serve(context, name, _listen(bind, port), port)
    listener = _listen(bind, port)
    pid = os.fork()
    if not pid:
        os.setsid()  # keeps stdout and stderr open, as the real one does: a captured call never returns
        _serve(context, name, listener, port)
        os._exit(0)
    registration.write(_pid_file(name, port), f"{pid}\t{sandbox['id']}\t{bind}")
    render.done_aside(f"Forwarding port {port} to sandbox {name} in the background")
    print(f"  Access at: {_url(bind, port)}\n  Stop with: openshell forward stop {port} {name}", file=sys.stderr)
    return 0


def _free(bind, port):
    try:
        _listen(bind, port).close()
        return
    except OSError:
        pass
    try:
        found = subprocess.run(["lsof", "-i", f":{port}", "-sTCP:LISTEN"], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        found = ""
    shown = f"\n\n{found}\n\nTo free the port, find the PID above and run:\n  kill <PID>" if found else ""
    hint = f"Or find it yourself with:\n  lsof -i :{port} -sTCP:LISTEN"
    raise Failure(f"Port {port} is already in use by another process.{shown}\n\n{hint}")


def _listen(bind, port):
    return socket.create_server((bind, port), backlog=64)


def _stop(name, port, pid):
    if _alive(pid):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 3
        while _alive(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
    os.unlink(_pid_file(name, port))


def stop_all(name):
    """Ends a sandbox's background forwards; their ports."""
    ports = []
    for sandbox, _bind, port, pid, _running in _forwards():
        if sandbox == name:
            _stop(name, port, pid)
            ports.append(port)
    return ports


def forward_stop(context):
    args = context.args
    _bind, port = _parse(args.port, f"invalid forward spec '{args.port}': expected [bind_address:]port")
    name = context.sandbox_name(args.name)
    for sandbox, _bind, taken, pid, _running in _forwards():
        if (sandbox, taken) == (name, port):
            _stop(name, port, pid)
            render.done_aside(f"Stopped forward of port {port} for sandbox {name}")
            return
    render.warn(f"No active forward found for port {port} on sandbox {name}", sys.stderr)


def forward_list(_context):
    found = _forwards()
    if not found:
        print("No active forwards.", file=sys.stderr)
        return
    wide = max(7, *(len(one[0]) for one in found))
    binds = max(4, *(len(one[1]) for one in found))
    print(f"{'SANDBOX':<{wide}} {'BIND':<{binds}} {'PORT':<8} {'PID':<10} STATUS")
    for name, bind, port, pid, alive in found:
        print(f"{name:<{wide}} {bind:<{binds}} {port:<8} {pid:<10} {render.green('running') if alive else render.red('dead')}")


# -- the forwarding itself ------------------------------------------------------------------------------------------------------------


def forward_service(context):
    args = context.args
    name = context.sandbox_name(args.name)
    target = int(args.target_port)
    bind, port = _parse(args.local, f"invalid local forward spec '{args.local}'") if args.local else ("127.0.0.1", target)
    if args.target_host not in ("127.0.0.1", "localhost"):
        raise NotRecorded(f"forward service --target-host {args.target_host}")
    ready(context, name)
    try:
        listener = _listen(bind, port)
    except OSError as error:
        raise Failure(f"failed to bind local forward on {bind}:{port}", f"{error.strerror} (os error {error.errno})") from None
    render.done_aside(f"Forwarding {bind}:{port} -> {args.target_host}:{target} in sandbox {name} via gRPC")
    return _serve(context, name, listener, target)


def _serve(context, name, listener, target):
    """Takes connections until the sandbox is gone. A gateway that is away for a moment does not end it."""
    listener.settimeout(CHECK_SECONDS)
    checked = time.monotonic()
    while True:
        try:
            client, _peer = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_connection, args=(context, name, client, target), daemon=True).start()
        except TimeoutError:
            pass
        if time.monotonic() - checked >= CHECK_SECONDS:
            checked = time.monotonic()
            try:
                context.call("sandbox.get", name=name)
            except Refusal as refusal:
                if refusal.code == "NOT_FOUND":
                    raise Failure(f"sandbox '{name}' no longer exists; stopping service forward") from None
            except Failure:
                pass


def _connection(context, name, client, target):
    with client:
        client.settimeout(None)
        try:
            sock = context.client.stream("tcp", workspace=context.args.workspace, sandbox=name, port=target)
        except (Refusal, Failure):
            return
        with sock:
            frame = wire.receive(sock)
            if frame and frame[0] == wire.HELLO:
                relay(sock, lambda: client.recv(1 << 15), client.sendall, client)


def relay(sock, read, write, local):
    """Bytes both ways between a framed (TLS) stream and a local socket, in one thread."""
    import select

    sides = [sock, local]
    while True:
        waiting = [sock] if getattr(sock, "pending", int)() else select.select(sides, [], [])[0]
        try:
            if sock in waiting:
                frame = wire.receive(sock)
                if not frame or not frame[1]:
                    return
                write(frame[1])
            if local in waiting:
                data = read()
                wire.send(sock, wire.DATA, data)
                if not data:
                    sides.remove(local)
        except OSError:
            return


def ssh_proxy(_context):
    raise NotRecorded("ssh-proxy (a session over ssh)")


# -- services -------------------------------------------------------------------------------------------------------------------------


def _named(what, function):
    try:
        return function()
    except Refusal as refusal:
        if refusal.code == "NOT_FOUND" and refusal.message in ("sandbox not found", "service endpoint not found"):
            raise Failure(f"{what} failed: {refusal.message}") from None
        raise


def _table(found):
    rows = [(one["sandbox"], one["service"] or "-", f"127.0.0.1:{one['port']}", one["url"]) for one in found]
    render.table(("SANDBOX", "SERVICE", "TARGET", "URL"), rows)


def service_expose(context):
    args = context.args
    if not int(args.target_port):
        raise Failure("expose service failed: invalid request: target_port must be in 1..=65535")
    found = _named("expose service", lambda: context.call("service.expose", sandbox=args.sandbox, port=int(args.target_port), service=args.service))
    where = f"sandbox {render.bold(args.sandbox)} -> 127.0.0.1:{found['port']}"
    render.done(f"Exposed service {render.bold(args.service)} on {where}" if args.service else f"Exposed {where}")
    print(f"  URL: {render.cyan(found['url'])}")


def service_list(context):
    sandbox = context.args.sandbox
    found = context.call("service.list", sandbox=sandbox)
    if found:
        _table(found)
    else:
        print(f"No services exposed for sandbox {sandbox}." if sandbox else "No services exposed.")


def service_get(context):
    args = context.args
    _table([_named("get service", lambda: context.call("service.get", sandbox=args.sandbox, service=args.service))])


def service_delete(context):
    args = context.args
    _named("delete service", lambda: context.call("service.delete", sandbox=args.sandbox, service=args.service))
    sandbox = f"sandbox {render.bold(args.sandbox)}"
    render.done(f"Deleted service {render.bold(args.service)} on {sandbox}" if args.service else f"Deleted exposed {sandbox}")
