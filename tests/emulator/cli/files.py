# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in and out of a sandbox, as tar streams of commands run inside."""

from __future__ import annotations

import io
import os
import posixpath
import shlex
import subprocess
import sys
import tarfile

from ..errors import Failure, NotRecorded
from . import render
from .sandbox import ready
from .streams import capture, run


def _remote(context, name, script, **options):
    return run(context.client, workspace=context.args.workspace, sandbox=name, command=["bash", "-c", script], **options)


def _probe(context, name, script, problem):
    code, out = capture(context.client, workspace=context.args.workspace, sandbox=name, command=["bash", "-c", script])
    if code:
        raise Failure(problem, f"ssh probe exited with status exit status: {code}")
    return out.decode().rstrip("\n")


# -- up -------------------------------------------------------------------------------------------------------------------------------


def upload(context):
    args = context.args
    name, local, dest = args.name, args.local_path, args.dest
    if not os.path.lexists(local):
        raise Failure(f"local path does not exist: {local}")
    listed = None if args.no_git_ignore else _git_files(local)
    print(f"Uploading {local} -> sandbox:{dest or '~'}", file=sys.stderr)
    ready(context, name)
    single = os.path.islink(local) or not os.path.isdir(local)
    directory, arcname = dest or ".", _basename(local)
    if dest and single and not dest.endswith("/") and posixpath.dirname(dest) not in ("/",):
        directory, arcname = posixpath.dirname(dest) or ".", posixpath.basename(dest)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        if listed is None:
            tar.add(local, arcname)
        else:
            base, files = listed
            for file in files:
                tar.add(os.path.join(base, file), arcname if single else os.path.join(arcname, file))
    where = shlex.quote(directory)
    code = _remote(context, name, f"mkdir -p {where} && cat | tar xf - -C {where}", stdin=buffer.getvalue(), out=lambda _data: None)
    if code:
        raise Failure(f"ssh tar extract exited with status exit status: {code}")
    render.done_aside("Upload complete")


def _basename(path):
    """The last part of a path; `.` where it names none."""
    name = os.path.basename(path.rstrip("/"))
    return name if name not in ("", ".", "..") else "."


def _git_files(local):
    """(directory, files below it) that git does not ignore; None outside a work tree."""
    directory = local if os.path.isdir(local) else os.path.dirname(local) or "."
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z", "--", "." if os.path.isdir(local) else os.path.basename(local)],
            cwd=directory,
            capture_output=True,
            check=False,
            env=environment,
        )
    except OSError:
        return None
    if done.returncode:
        return None
    files = [file for file in done.stdout.decode().split("\0") if file and os.path.lexists(os.path.join(directory, file))]
    if not files:
        raise NotRecorded("sandbox upload of files that git ignores altogether")
    return directory, files


# -- down -----------------------------------------------------------------------------------------------------------------------------


def download(context):
    args = context.args
    name, source, dest = args.name, args.sandbox_path, args.dest or "."
    print(f"Downloading sandbox:{source} -> {dest}", file=sys.stderr)
    ready(context, name)
    root = _probe(context, name, "pwd -P", "failed to discover remote workspace")
    wanted = posixpath.normpath(posixpath.join(root, source))
    if wanted != root and not wanted.startswith(root + "/"):
        raise Failure(f"sandbox source path '{source}' is outside the sandbox workspace ({root})")
    resolved = _probe(context, name, f"realpath -e -- {shlex.quote(wanted)}", f"failed to resolve sandbox source path '{source}'")
    if resolved != root and not resolved.startswith(root + "/"):
        raise Failure(f"sandbox source path '{source}' resolves to '{resolved}', outside the sandbox workspace ({root})")
    directory = _probe(context, name, f"if [ -d {shlex.quote(resolved)} ]; then printf dir; else printf file; fi", "probe") == "dir"
    pieces = []
    where, what = (resolved, ".") if directory else (posixpath.dirname(resolved), posixpath.basename(resolved))
    code = _remote(context, name, f"tar cf - -C {shlex.quote(where)} {shlex.quote(what)}", stdin=b"", out=pieces.append)
    if code:
        raise Failure(f"ssh tar create exited with status exit status: {code}")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        if directory:
            os.makedirs(dest, exist_ok=True)
            tar.extractall(dest, filter="data")
        else:
            _one_file(tar, what, dest)
    render.done_aside("Download complete")


def _one_file(tar, name, dest):
    target = os.path.join(dest, name) if dest.endswith("/") or os.path.isdir(dest) else dest
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    member = tar.getmembers()[0]
    with open(target, "wb") as file:
        file.write(tar.extractfile(member).read())
    os.chmod(target, member.mode & 0o777)
