# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy's filesystem section, enforced with Landlock where the kernel has it (best effort)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct

CREATE, ADD, RESTRICT = 444, 445, 446
PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
READ = EXECUTE | READ_FILE | READ_DIR
ALL = (1 << 14) - 1  # every right of version 2 of the interface, which is what the real supervisor asks for
ALL_V1 = (1 << 13) - 1
FILE = EXECUTE | WRITE_FILE | READ_FILE

libc = ctypes.CDLL(None, use_errno=True)


def available():
    """The interface's version, 0 where the kernel has none."""
    return max(libc.syscall(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)), 0)


def ruleset(read_only, read_write):
    """A file descriptor of a ruleset that grants these paths (those that exist), or None without Landlock."""
    version = available()
    if not version:
        return None
    rights = ALL if version > 1 else ALL_V1
    attribute = struct.pack("Q", rights)
    fd = libc.syscall(CREATE, attribute, ctypes.c_size_t(len(attribute)), ctypes.c_uint32(0))
    if fd < 0:
        return None
    for paths, granted in ((read_only, READ), (read_write, rights)):
        for path in paths:
            _grant(fd, path, granted & rights)
    return fd


def _grant(ruleset_fd, path, rights):
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= FILE
        libc.syscall(ADD, ctypes.c_int(ruleset_fd), ctypes.c_int(PATH_BENEATH), struct.pack("=Qi", rights, fd), ctypes.c_uint32(0))
    finally:
        os.close(fd)


def restrict(ruleset_fd):
    """For the calling process and its children, for good."""
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if ruleset_fd is not None:
        libc.syscall(RESTRICT, ctypes.c_int(ruleset_fd), ctypes.c_uint32(0))
