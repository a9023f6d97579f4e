# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands inside a sandbox. Private to the collection."""

from __future__ import annotations

from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell import text
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell, OpenShellError, Output

STDIN_LIMIT = 4 * 1024 * 1024  # bytes; the gateway takes no more

# a file appears whole or not at all, and never readable by others in between
_WRITE = 'umask 077 && mkdir -p -- "$(dirname -- "$1")" && cat > "$1.new" && chmod -- "$2" "$1.new"'


def run(
    client: OpenShell, sandbox: str, argv: list[str], *, env: dict[str, str] | None = None, stdin: str | None = None, workdir: str = "", timeout: int = 60,
    again: bool = False,
) -> Output:  # fmt: skip
    """Run C(argv) in the sandbox as its user and return what it gave, whatever its exit status; C(again) where the gateway cannot reach the sandbox now.

    Raises OpenShellError when the command could not be run at all, and kind C(timeout) when it did not end within C(timeout) seconds. C(env) appears in
    the process list: no secrets.
    """
    options = [word for key, value in sorted((env or {}).items()) for word in ("--env", f"{key}={value}")]
    if workdir:
        options += ["--workdir", workdir]
    arguments = ("sandbox", "exec", "--name", sandbox, "--no-tty", "--timeout", str(timeout), *options, "--", *argv)
    output = client.call(*arguments, stdin=stdin, timeout=timeout + 15, check=False, retry=again)
    if output.rc == 124:
        raise OpenShellError("timeout", f"{argv[0]} in the sandbox {sandbox} did not end within {timeout} s", 124, arguments)
    if output.rc == 1 and output.stderr.lstrip().startswith("Error:") and "×" in output.stderr:
        message = text.unwrap(output.stderr)
        raise OpenShellError(text.classify(message), text.server_message(message), output.rc, arguments)
    return output


def digests(client: OpenShell, sandbox: str, paths: list[str]) -> dict[str, dict[str, str]]:
    """C({path, {sha256, mode}}) of those of the paths that are files in the sandbox."""
    if not paths:
        return {}
    sums = run(client, sandbox, ["sha256sum", "--", *paths], again=True).stdout
    modes = run(client, sandbox, ["stat", "-c", "%04a  %n", "--", *paths], again=True).stdout
    mode = {path: value for value, _sep, path in (line.partition("  ") for line in modes.splitlines())}
    return {path: {"sha256": value, "mode": mode.get(path, "")} for value, _sep, path in (line.partition("  ") for line in sums.splitlines())}


def content(client: OpenShell, sandbox: str, path: str) -> str:
    """The text of a file in the sandbox; empty when it cannot be read."""
    return run(client, sandbox, ["cat", "--", path], again=True).stdout


def write(client: OpenShell, sandbox: str, path: str, content: str, mode: str, validate: list[str] | None = None, env: dict[str, str] | None = None) -> None:
    """Put a file into the sandbox. C(validate) is a command that must accept it first; C({path}) in it and in C(env) stands for the new file."""
    new = f"{path}.new"
    written = run(client, sandbox, ["sh", "-c", _WRITE, "sh", path, mode], stdin=content)
    if written.rc:
        raise OpenShellError(
            "other", f"{path} could not be written in the sandbox {sandbox}: {written.stderr.strip()}", written.rc, ["sandbox", "exec", sandbox]
        )
    if validate:
        given = {key: value.replace("{path}", new) for key, value in (env or {}).items()}
        checked = run(client, sandbox, [word.replace("{path}", new) for word in validate], env=given, timeout=120)
        if checked.rc:
            run(client, sandbox, ["rm", "-f", "--", new])
            raise OpenShellError(
                "invalid", f"{validate[0]} refuses the new {path}: {(checked.stdout + checked.stderr).strip()[-800:]}", checked.rc, ["sandbox", "exec"]
            )
    run(client, sandbox, ["mv", "-f", "--", new, path])
