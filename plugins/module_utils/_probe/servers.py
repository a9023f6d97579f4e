# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model servers that are on the host already: Ollama, and whatever has an OpenAI-compatible API. Private to the collection."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import listeners
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host, Outcome
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving import served

TIMEOUT = 10  # seconds; a server that is busy loading a model still answers these questions
LARGEST = 1 << 22  # bytes of an answer
UNIT = "ollama.service"
OLLAMA = f"/etc/systemd/system/{UNIT}"
MARK = "# Made by nemoclaw.fleet.\n"
DROPIN = "zz-nemoclaw.conf"  # the last one counts, also after what an administrator has edited
PROXIES = "/etc/*/proxy/conf/nginx.conf"
PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "MainPID", "User", "FragmentPath", "DropInPaths", "Environment")


def commands(host: Host) -> dict[str, list[str]]:
    program = host.which("ollama")
    unit = {"ollama_unit": [host.which("systemctl"), "show", "-p", ",".join(PROPERTIES), UNIT]}
    return {**unit, **({"ollama": [program, "--version"]} if program else {})}


def read(host: Host, asked: dict[str, list[str]], said: dict[str, Outcome], ollama_port: int, openai_ports: list[int]) -> dict[str, t.Any]:
    """C({ollama, openai, held, proxies, nim}) as RETURN of host_probe describes them; servers are asked only where something listens."""
    ports = sorted({ollama_port, *openai_ports})
    found = {one["port"]: one["listeners"] for one in listeners.read(host, [{"port": port, "address": "0.0.0.0"} for port in ports])}
    for held in found.values():
        for one in held:
            one["program"] = _program(host, one["pid"])
    return {
        "ollama": {
            "path": asked.get("ollama", [""])[0],
            "version": version_of(said["ollama"].output) if "ollama" in said else "",
            "unit": unit_of(host, said["ollama_unit"].stdout),
            "ours": any(host.text(path).startswith(MARK.strip()) for path in (f"{OLLAMA}.d/{DROPIN}", OLLAMA)),
            "port": ollama_port,
            "listeners": found[ollama_port],
            **(ollama(found[ollama_port], ollama_port) if found[ollama_port] else {"running": "", "models": [], "loaded": []}),
        },
        "openai": [server for port in openai_ports if found[port] and (server := openai(found[port], port))],
        "held": [{"port": port, "listeners": found[port]} for port in openai_ports if found[port]],
        "proxies": [proxy_of(path.split("/")[2], host.text(path)) for path in host.glob(PROXIES)],
        "nim": served.all_of(host.path(served.DIRECTORY)),
    }


def _program(host: Host, pid: int) -> str:
    """The executable of a process; never its arguments, which may hold a key."""
    try:
        return os.readlink(host.path(f"/proc/{pid}/exe")) if pid else ""
    except OSError:
        return ""


def version_of(said: str) -> str:
    """The version of the program itself; it also says that of a running server."""
    found = re.search(r"client version is (\S+)", said) or re.search(r"version is (\S+)", said)
    return found.group(1) if found else ""


def unit_of(host: Host, shown: str) -> dict[str, t.Any]:
    """Ollama's unit; empty where there is none. C(environment) are Ollama's own settings as it has them, C(given) those that it would have without ours.

    C(models_dir) is where it would keep its models without ours, empty where that cannot be known.
    """
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    if values.get("LoadState") in (None, "not-found"):
        return {}
    files = [values.get("FragmentPath", ""), *values.get("DropInPaths", "").split()]
    given = environment_of("\n".join(host.text(path) for path in files if path and os.path.basename(path) != DROPIN))
    home = given.get("HOME") or os.path.expanduser(f"~{values.get('User', '')}")
    models = given.get("OLLAMA_MODELS") or os.path.join(home, ".ollama/models")
    return {
        "name": UNIT,
        "path": values.get("FragmentPath", ""),
        "state": values.get("ActiveState", ""),
        "enabled": values.get("UnitFileState", ""),
        "pid": int(values.get("MainPID") or 0),
        "environment": _settings(_pairs(values.get("Environment", ""))),
        "given": _settings(given),
        "models_dir": models if os.path.isabs(models) else "",
    }


def environment_of(text: str) -> dict[str, str]:
    """What the files of a unit set; as systemd reads them: later ones count, an empty line takes back all before it, a wrong one does not count."""
    found: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        key, _equals, value = line.partition("=")
        if key.strip() == "Environment":
            found = {**found, **_pairs(value)} if value.strip() else {}
    return found


def _pairs(words: str) -> dict[str, str]:
    with contextlib.suppress(ValueError):  # quotes that are not closed
        return dict(pair.partition("=")[::2] for pair in shlex.split(words))
    return {}


def _settings(environment: dict[str, str]) -> dict[str, str]:
    """Ollama's own settings, which hold no secret."""
    return {name: value for name, value in environment.items() if name.startswith("OLLAMA_")}


def proxy_of(gateway: str, config: str) -> dict[str, t.Any]:
    """A proxy of this collection by its configuration: the ports that it listens on, and those of the servers behind it."""

    def ports(word: str) -> list[int]:
        return sorted({int(port) for port in re.findall(rf"^\s*{word} \S*:(\d+)\b", config, re.MULTILINE)})

    return {"gateway": gateway, "ports": ports("listen"), "backends": ports("server")}


def ollama(held: list[dict], port: int) -> dict[str, t.Any]:
    """What a running Ollama says of itself: C(running), its version, is empty where none answers."""
    address = _address(held)
    answers = {name: ask(address, port, f"/api/{name}")[1] for name in ("version", "tags", "ps")}
    if not answers["version"].get("version"):
        return {"running": "", "models": [], "loaded": []}
    models, loaded = (answers[name].get("models") or [] for name in ("tags", "ps"))
    return {
        "running": str(answers["version"]["version"]),
        "models": [{"name": one["name"], "size_mb": one.get("size", 0) >> 20, "digest": one.get("digest", "")} for one in models],
        "loaded": [
            {
                "name": one["name"],
                "memory_mb": one.get("size", 0) >> 20,
                "gpu_mb": one.get("size_vram", 0) >> 20,
                "context_length": one.get("context_length", 0),
            }
            for one in loaded
        ],
    }


def openai(held: list[dict], port: int) -> dict[str, t.Any]:
    """A server with an OpenAI-compatible API; empty where something else listens."""
    status, answer = ask(_address(held), port, "/v1/models")
    models = answer.get("data")
    if status not in (401, 403) and not isinstance(models, list):
        return {}
    entries = [one for one in models or [] if isinstance(one, dict) and one.get("id")]
    return {
        "port": port,
        "listeners": held,
        "key_needed": status in (401, 403),
        "models": [{"id": one["id"], "max_model_len": one.get("max_model_len") or 0, "owned_by": one.get("owned_by") or ""} for one in entries],
    }


def _address(held: list[dict]) -> str:
    """An address that the listeners are reached at from the host itself."""
    addresses = [one["address"] for one in held]
    return "127.0.0.1" if {"0.0.0.0", "::", "127.0.0.1"} & set(addresses) else addresses[0]


def ask(address: str, port: int, path: str) -> tuple[int, dict]:
    """The status and the JSON object of an answer; 0 and an empty one where there is none."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = json.loads(answer.read(LARGEST))
        return answer.status, body if isinstance(body, dict) else {}
    except (OSError, http.client.HTTPException):
        return 0, {}
    except ValueError:
        return answer.status, {}
    finally:
        connection.close()
