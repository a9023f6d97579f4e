# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workload's network: a namespace whose only way out is the proxy on the other end of a veth pair."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess

PROXY_ADDRESS, WORKLOAD_ADDRESS, PROXY_PORT = "10.200.0.1", "10.200.0.2", 3128
CLONE_NEWNET = 0x40000000

REJECT_ALL = f"""
table inet openshell {{
  chain output {{
    type filter hook output priority 0; policy accept;
    oifname "lo" accept
    ip daddr {PROXY_ADDRESS} tcp dport {PROXY_PORT} accept
    ct state established,related accept
    meta l4proto tcp reject with tcp reset
    reject
  }}
}}
"""

libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace_fd):
    if libc.setns(namespace_fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words, namespace=None):
    prefix = ["nsenter", f"--net=/proc/{namespace}/ns/net"] if namespace else []
    subprocess.run([*prefix, "ip", *words], check=True, capture_output=True)


def make():
    """Makes the namespace; returns a file descriptor of it. A helper process holds it until the descriptor is open."""
    ready, made = os.pipe()
    go, done = os.pipe()
    holder = os.fork()
    if not holder:
        libc.unshare(CLONE_NEWNET)
        os.write(made, b"1")
        os.close(done)
        os.read(go, 1)
        os._exit(0)
    os.read(ready, 1)
    namespace = os.open(f"/proc/{holder}/ns/net", os.O_RDONLY)
    subprocess.run(["ip", "link", "delete", "osh-proxy"], check=False, capture_output=True)
    _ip("link", "add", "osh-proxy", "type", "veth", "peer", "name", "osh-work", "netns", str(holder))
    _ip("address", "add", f"{PROXY_ADDRESS}/24", "dev", "osh-proxy")
    _ip("link", "set", "osh-proxy", "up")
    _ip("link", "set", "lo", "up", namespace=holder)
    _ip("address", "add", f"{WORKLOAD_ADDRESS}/24", "dev", "osh-work", namespace=holder)
    _ip("link", "set", "osh-work", "up", namespace=holder)
    _ip("route", "add", "default", "via", PROXY_ADDRESS, namespace=holder)
    subprocess.run(["nsenter", f"--net=/proc/{holder}/ns/net", "nft", "-f", "-"], input=REJECT_ALL.encode(), check=True, capture_output=True)
    os.close(done)
    os.waitpid(holder, 0)
    for fd in (ready, made, go):
        os.close(fd)
    return namespace


def programs_of(peer_port):
    """(pid, executables) of the process that has this local port in the workload's namespace: its own, then its ancestors'."""
    inode = _inode(peer_port)
    owner = pid = inode and _owner(inode)
    found = []
    while pid and pid > 1:
        try:
            found.append(os.readlink(f"/proc/{pid}/exe"))
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
    return owner, found


_sample = None


def watch(pid):
    """Tells which process shows the workload's sockets in /proc: its main process."""
    global _sample
    _sample = pid


def _inode(port):
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{_sample}/net/{table}", encoding="ascii") as file:
                for line in file:
                    words = line.split()
                    if len(words) > 9 and words[1].endswith(f":{port:04X}") and words[9] != "0":
                        return words[9]
        except OSError:
            continue
    return None


def _owner(inode):
    wanted = f"socket:[{inode}]"
    for entry in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int, reverse=True):
        if any(target == wanted for target in _open_files(entry)):
            return int(entry)
    return None


def _open_files(process):
    """What a process has open; one that it closes meanwhile does not hide the others."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                yield os.readlink(f"/proc/{process}/fd/{fd}")
