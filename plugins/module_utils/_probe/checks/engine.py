# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine. Private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import result, version

if t.TYPE_CHECKING:
    from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks.result import Facts, Results

SLOW_STORAGE = ("vfs", "devicemapper", "native")
REPAIR = "set nemoclaw_preflight_repair: [docker]"


def docker(facts: Facts, limits: Facts) -> Results:
    """Present, then running, then fit: what is not there is not judged further."""
    found = facts["docker"]
    if not found["present"]:
        remedy = f"Run 'apt-get install docker.io', or {REPAIR}."
        if found["rootless_sockets"]:
            remedy = f"A rootless engine cannot be used: run 'apt-get install docker.io', or {REPAIR}."
        return result("docker_present", False, "error", "no Docker engine", remedy)
    results = result("docker_present", True, "error", found["cli"] or "engine socket") + _kind(found)
    if not found["running"]:
        remedy = f"Run 'systemctl enable --now docker' and see 'journalctl -u docker' when it does not start, or {REPAIR}."
        if "Permission denied" in found["error"]:
            remedy = "Run with become: true, or put the connecting user into the group docker."
        return results + result("docker_running", False, "error", f"the engine does not answer: {found['error']}", remedy)
    results += result("docker_running", not found["errors"], "error", "; ".join(found["errors"]) or "the engine answers", "See 'docker info'.")
    number, least = found["version"], limits["docker_min"]
    if found["engine"] == "docker":
        remedy = f"Update the Docker engine to {least} or newer."
        results += result("docker_version", version(number) >= version(least), "error", f"{number} (API {found['api_version']})", remedy)
    driver = found["storage_driver"]
    remedy = f"Every container copies its image with {driver}: put {found['data_root']} on ext4 or xfs so that the engine can use overlay2."
    return results + result("docker_storage", driver not in SLOW_STORAGE, "warning", f"{driver} in {found['data_root']}", remedy)


def _kind(found: Facts) -> Results:
    """Docker's own engine, of a package, run by root."""
    podman = found.get("engine") == "podman" or "podman-docker" in found["packages"]
    name = f"podman {found.get('version', '')}".strip() if podman else found.get("engine", "docker")
    remedy = "Podman stands in Docker's place: run 'apt-get remove podman-docker' and 'apt-get install docker.io'."
    results = result("docker_engine", not podman, "error", f"{name} {found.get('version', '')}".strip() if not podman else name, remedy)
    snap = found["snap"] or found.get("data_root", "").startswith("/var/snap/")
    remedy = "A snap sees neither /usr/local nor hidden directories: run 'snap remove docker' and 'apt-get install docker.io' (its containers are lost)."
    results += result("docker_snap", not snap, "error", "installed as a snap" if snap else "not a snap", remedy)
    rootless = "name=rootless" in found.get("security_options", [])
    remedy = "OpenShell's gateway needs the engine of the system: run 'dockerd-rootless-setuptool.sh uninstall' and 'systemctl enable --now docker'."
    return results + result("docker_rootless", not rootless, "error", "rootless" if rootless else "run by root", remedy)


def docker_group(facts: Facts, limits: Facts) -> Results:
    """The owner talks to the engine's socket."""
    outside = [name for name, found in sorted(facts["users"].items()) if found and "docker" not in found["groups"] and found["uid"]]
    detail = f"{', '.join(outside)} not in the group docker" if outside else "the owner is in the group docker, or made by the run"
    remedy = f"Run 'usermod -aG docker {outside[0]}'." if outside else ""
    return result("docker_group", not outside, "error", detail, remedy)


def docker_credentials(facts: Facts, limits: Facts) -> Results:
    """A helper that needs a desktop makes every pull fail, long after the start."""
    missing = {name: helper for name, helper in facts["credential_helpers"].items() if helper}
    detail = "; ".join(f"{name}'s ~/.docker/config.json names {helper}, which is not there" for name, helper in missing.items())
    return result("docker_credentials", not missing, "warning", detail or "no missing credential helper", "Remove credsStore and credHelpers from that file.")
