# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers on the host's Docker engine, named, labelled and equipped as the real gateway's."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile

import docker
import docker.errors
import docker.types

from ..errors import invalid, precondition
from ..policy.rules import BASELINE_READ_ONLY, BASELINE_READ_WRITE
from ..supervisor.main import PORT, TOKEN

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MANAGED = "openshell.ai/managed-by"
ID, NAME = "openshell.ai/sandbox-id", "openshell.ai/sandbox-name"
NAMESPACE, WORKSPACE = "openshell.ai/sandbox-namespace", "openshell.ai/sandbox-workspace"
CAPABILITIES = ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYSLOG"]


class Broken(Exception):
    """Why a container could not be made: the reason and sentence that the sandbox's error phase shows."""


class Driver:
    def __init__(self, config):
        self.config = config
        socket_path = config.get("socket_path")
        self.client = docker.DockerClient(base_url=f"unix://{socket_path}", version="auto") if socket_path else docker.from_env(version="auto")
        self.namespace = config.get("sandbox_namespace") or "default"
        self.network = config.get("network_name") or "openshell-docker"
        self.gateway_ip = config.get("host_gateway_ip") or self.ensure_network()

    def version(self):
        return self.client.version()["Version"]

    def ensure_network(self):
        """The bridge's address; the network is made when it is not there."""
        try:
            network = self.client.networks.get(self.network)
        except docker.errors.NotFound:
            labels = {MANAGED: "openshell", NAMESPACE: self.namespace}
            network = self.client.networks.create(self.network, driver="bridge", attachable=True, labels=labels)
            network.reload()
        return network.attrs["IPAM"]["Config"][0]["Gateway"].partition("/")[0]

    # -- reading ------------------------------------------------------------------------------------------------------------------

    def states(self):
        """{sandbox id: container state} of every container in this gateway's namespace, running or not."""
        filters = {"label": [f"{MANAGED}=openshell", f"{NAMESPACE}={self.namespace}", ID]}
        found = self.client.api.containers(all=True, filters=filters)
        return {entry["Labels"][ID]: entry["State"] for entry in found}

    def container(self, sandbox):
        try:
            return self.client.containers.get(container_name(sandbox))
        except docker.errors.NotFound:
            return None

    def address(self, sandbox):
        """(ip, port) of the supervisor; None while it has no address."""
        container = self.container(sandbox)
        networks = container.attrs["NetworkSettings"]["Networks"] if container else {}
        ip = next((entry["IPAddress"] for entry in networks.values() if entry["IPAddress"]), None)
        return (ip, PORT) if ip else None

    # -- making -------------------------------------------------------------------------------------------------------------------

    def check(self, spec):
        """What is refused before a sandbox exists."""
        mounts_of(spec.get("driver_config"))
        self.check_gpus(spec.get("gpu"), ((spec.get("driver_config") or {}).get("docker") or {}).get("cdi_devices"))
        for mount in mounts_of(spec.get("driver_config")):
            if mount["type"] == "volume":
                try:
                    self.client.volumes.get(mount["source"])
                except docker.errors.NotFound:
                    raise precondition(f"docker volume '{mount['source']}' does not exist") from None

    def check_gpus(self, count, devices):
        """`count` is what --gpu says, 0 where it says no number."""
        if devices is not None and not devices:
            raise invalid("invalid docker driver_config: must be a non-empty list of strings")
        if count is None:
            if devices:
                raise invalid("driver_config.cdi_devices requires a gpu request")
            return
        if not self.has_cdi():
            raise precondition(
                "docker GPU sandboxes require Docker CDI support. Enable CDI on the Docker daemon, then restart the OpenShell "
                "gateway/server so GPU capability is detected."
            )
        if not devices:
            raise precondition("no NVIDIA CDI GPU devices were discovered")
        if (count or 1) != len(devices):
            raise invalid(f"gpu count ({count or 1}) must match driver_config.cdi_devices length ({len(devices)})")
        for device in devices:
            if devices.count(device) > 1:
                raise invalid(f"driver_config.cdi_devices contains duplicate device ID '{device}'")

    def has_cdi(self):
        return bool(self.client.info().get("CDISpecDirs"))

    def image(self, name, note):
        """The image's attributes, pulled when the policy says so; raises Broken. `note(text)` reports progress."""
        policy = self.config.get("image_pull_policy") or "IfNotPresent"
        note(f"Pulling image {name}")
        try:
            image = None if policy == "Always" else self.client.images.get(name)
        except docker.errors.ImageNotFound:
            image = None
        if image is not None:
            note("Image already present")
            return image.attrs
        if policy == "Never":
            raise Broken(f"ImagePullFailed: image '{name}' is not present and image_pull_policy is Never")
        try:
            repository, _colon, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
            return self.client.images.pull(repository, tag).attrs
        except docker.errors.APIError as error:
            raise Broken(f"ImagePullFailed: pull Docker image failed: Docker responded with status code {error.status_code}: {error.explanation}") from None

    def create(self, sandbox, token, note):
        spec = sandbox["spec"]
        image = self.image(spec["image"], note)
        config = image["Config"] or {}
        workdir = config.get("WorkingDir") or "/sandbox"
        mounts = [self.mount(entry, workdir) for entry in mounts_of(spec.get("driver_config"))]
        environment = {
            **dict(pair.partition("=")[::2] for pair in config.get("Env") or ()),
            "HOME": "/root",
            "TERM": "xterm",
            "OPENSHELL_ENDPOINT": self.config.get("grpc_endpoint", ""),
            "OPENSHELL_LOG_LEVEL": "info",
            "OPENSHELL_OCI_IMAGE_USER": config.get("User") or "",
            "OPENSHELL_SANDBOX": sandbox["name"],
            "OPENSHELL_SANDBOX_ID": sandbox["id"],
            "OPENSHELL_SANDBOX_COMMAND": "sleep infinity",
            "OPENSHELL_BASELINE": json.dumps([*BASELINE_READ_ONLY, *BASELINE_READ_WRITE]),
        }
        if spec.get("environment"):
            environment["OPENSHELL_USER_ENVIRONMENT"] = json.dumps(spec["environment"])
        resources = {"nano_cpus": spec["nano_cpus"]} if spec.get("nano_cpus") else {}
        resources.update({"mem_limit": spec["memory_bytes"]} if spec.get("memory_bytes") else {})
        devices = ((spec.get("driver_config") or {}).get("docker") or {}).get("cdi_devices")
        if devices:
            resources["device_requests"] = [docker.types.DeviceRequest(driver="cdi", device_ids=devices)]
        try:
            container = self.client.containers.create(
                image["Id"],
                ["--workdir", workdir],
                name=container_name(sandbox),
                entrypoint=["/opt/openshell/bin/openshell-sandbox"],
                user="0",
                working_dir="/",
                environment=environment,
                network=self.network,
                cap_add=CAPABILITIES,
                security_opt=["apparmor=unconfined"],
                pids_limit=int(self.config.get("sandbox_pids_limit", 2048)),
                restart_policy={"Name": "unless-stopped"},
                extra_hosts=dict.fromkeys(("host.docker.internal", "host.openshell.internal"), self.gateway_ip),
                volumes=[f"{HOME}:/opt/openshell:ro"],
                mounts=mounts,
                labels={
                    MANAGED: "openshell",
                    ID: sandbox["id"],
                    NAME: sandbox["name"],
                    NAMESPACE: self.namespace,
                    WORKSPACE: sandbox["workspace"],
                },
                **resources,
            )
            container.put_archive("/", _file(TOKEN, token))
            self.keep_token(sandbox, token)
        except docker.errors.APIError as error:
            raise Broken(f"ContainerCreateFailed: Docker responded with status code {error.status_code}: {error.explanation}") from None
        note("Starting sandbox Container created")
        try:
            container.start()
        except docker.errors.APIError as error:
            raise Broken(
                f"ContainerStartFailed: start docker sandbox container failed: Docker responded with status code {error.status_code}: {error.explanation}"
            ) from None

    def token_path(self, sandbox):
        """Where the real driver keeps what it mounts into the sandbox."""
        home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return os.path.join(home, "openshell", "docker-sandbox-tokens", self.namespace, sandbox["id"], "sandbox.jwt")

    def keep_token(self, sandbox, token):
        os.makedirs(os.path.dirname(self.token_path(sandbox)), mode=0o700)
        with os.fdopen(os.open(self.token_path(sandbox), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token)

    def mount(self, entry, workdir):
        target = entry["target"].rstrip("/") or "/"
        if target == workdir:
            raise Broken(f"ContainerCreateFailed: mount target '{target}' is reserved for the OpenShell workspace")
        if entry["type"] == "bind":
            if not self.config.get("enable_bind_mounts"):
                raise Broken("ContainerCreateFailed: docker bind mounts require enable_bind_mounts = true in [openshell.drivers.docker]")
            if not os.path.exists(entry["source"]):
                raise Broken(f"ContainerCreateFailed: bind source path does not exist: {entry['source']}")
        if entry["type"] == "tmpfs":
            return docker.types.Mount(target, None, type="tmpfs", tmpfs_size=entry.get("size_bytes"))
        return docker.types.Mount(target, entry["source"], type=entry["type"], read_only=entry.get("read_only", True))

    # -- changing -----------------------------------------------------------------------------------------------------------------

    def start(self, sandbox):
        container = self.container(sandbox)
        if container:
            container.start()
        return container is not None

    def stop(self, sandbox):
        container = self.container(sandbox)
        if container:
            container.stop(timeout=5)

    def remove(self, sandbox):
        """True when there was a container."""
        shutil.rmtree(os.path.dirname(self.token_path(sandbox)), ignore_errors=True)
        try:
            self.client.api.remove_container(container_name(sandbox), force=True, v=True)
        except docker.errors.NotFound:
            return False
        return True


def container_name(sandbox):
    return f"openshell-{sandbox['workspace']}--{sandbox['name']}-{sandbox['id']}"


def mounts_of(driver_config):
    """The mounts of a driver configuration; refuses what Docker's part does not know."""
    if not driver_config:
        return []
    docker_config = driver_config.get("docker") or {}
    for key in docker_config:
        if key not in ("cdi_devices", "mounts"):
            raise invalid(f"invalid docker driver_config: unknown field `{key}`, expected `cdi_devices` or `mounts`")
    return docker_config.get("mounts") or []


def _file(path, text):
    """A tar archive with one file that only root may read, and the directories above it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(path.lstrip("/"))
        info.mode, info.size = 0o400, len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()
