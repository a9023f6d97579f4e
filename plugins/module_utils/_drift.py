# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The live state of a host against its plan, component by component. Read-only; private to the collection."""

from __future__ import annotations

import typing as t

from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.daemon import Engine
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.image import Image
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.login import Login, Logins
from ansible_collections.nemoclaw.fleet.plugins.module_utils._engine.network import Network
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host import repairs
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.accounts import User
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.credential_file import CredentialFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.files import File
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.packages import Packages
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.secret_file import SecretFile
from ansible_collections.nemoclaw.fleet.plugins.module_utils._host.units import Unit
from ansible_collections.nemoclaw.fleet.plugins.module_utils._nvidia.cdi_spec import CdiSpec
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.certificates import Certificates
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.client import OpenShell
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.forward import Forward
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.gateway import Gateway
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.policy import Policy
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.programs import Programs
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.provider import Provider
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.registry import Registry
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.route import Route
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.sandbox import Sandbox
from ansible_collections.nemoclaw.fleet.plugins.module_utils._openshell.users import Users
from ansible_collections.nemoclaw.fleet.plugins.module_utils._resource import Change, Resource
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.nim import NimServer
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.model import OllamaModel
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.program import Program as OllamaProgram
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.ollama.server import OllamaServer
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.proxy import Proxy
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.vllm import VllmServer
from ansible_collections.nemoclaw.fleet.plugins.module_utils._serving.weights import Weights

# what only a connected gateway can tell
GATEWAY_KINDS = ("provider", "route", "sandbox", "policy")
# classes of what the plan names as the resources of model servers and of their proxy
SERVING: dict[str, type[Resource]] = {
    "file": File,
    "packages": Packages,
    "secret": SecretFile,
    "unit": Unit,
    "user": User,
    "image": Image,
    "logins": Logins,
    "proxy": Proxy,
    "weights": Weights,
    "vllm": VllmServer,
    "nim": NimServer,
    "ollama_program": OllamaProgram,
    "ollama": OllamaServer,
    "ollama_model": OllamaModel,
}


class Drift(t.NamedTuple):
    """C(changes) by component: C(host), C(engine), C(gateway), C(serving/KIND), C(proxy), C(inference), C(sandbox/NAME), C(leftover/KIND).

    C(refused) take a rebuild, C(unknown) could not be read.
    """

    changes: dict[str, list[Change]]
    refused: list[Change]
    unknown: list[str]

    @property
    def pending(self) -> dict[str, t.Any]:
        """The components that need their role."""
        names = [component for component, changes in self.changes.items() if changes]
        return {
            "host": "host" in names,
            "engine": "engine" in names,
            "gateway": "gateway" in names,
            "serving": [name.partition("/")[2] for name in names if name.startswith("serving/")],
            "proxy": "proxy" in names,
            "inference": "inference" in names,
            "sandboxes": [name.partition("/")[2] for name in names if name.startswith("sandbox/")],
            "leftovers": [name.partition("/")[2] for name in names if name.startswith("leftover/")],
        }


def forward_of(plan: dict[str, t.Any], sandbox: dict[str, t.Any]) -> dict[str, t.Any]:
    """The desired forward with what all of a gateway have in common."""
    common = {"owner": plan["owner"]["name"], "gateway": plan["gateway"]["name"], "bin_dir": plan["gateway"]["bin_dir"]}
    return {**sandbox["forward"], **common}


def image_of(sandbox: dict[str, t.Any]) -> dict[str, t.Any]:
    """The desired image; by its name alone where it came from an archive, which is not kept on the host."""
    return {**sandbox["image"], "source": "present"} if sandbox["image"]["source"] == "archive" else sandbox["image"]


def engine_of(engine: dict[str, t.Any]) -> list[Resource]:
    """What lies below the gateway, as far as the plan is to answer for it."""
    kinds: dict[str, type[Resource]] = {"replaced": Packages, "packages": Packages, "toolkit": Packages, "cdi": CdiSpec, "daemon": Engine}
    return [*(File(entry) for entry in engine.get("repositories", [])), *(of_kind(engine[key]) for key, of_kind in kinds.items() if key in engine)]


def serving_of(planned: dict[str, t.Any], credentials: dict[str, str]) -> list[Resource]:
    """The resources of a model server or of the proxy."""

    def resource(desired: dict[str, t.Any]) -> Resource:
        if desired["resource"] == "credential":
            return CredentialFile(desired, credentials.get(desired.get("credential", ""), ""))
        if desired["resource"] == "login":
            return Login({**desired, "password": credentials.get(desired.get("credential", ""), "")})
        return SERVING[desired["resource"]](desired)

    return [resource(entry) for entry in planned["resources"]]


def components(plan: dict[str, t.Any], client: OpenShell, credentials: dict[str, str]) -> dict[str, list[Resource]]:
    """Every resource of a plan, by component, in the order they are made in."""
    gateway, inference = plan["gateway"], plan["inference"]
    found: dict[str, list[Resource]] = {
        **({"host": mended} if (mended := repairs.wanted(plan)) else {}),
        **({"engine": engine_of(plan["engine"])} if plan.get("engine") else {}),
        "gateway": [
            Packages({"name": "required", "packages": gateway["packages"]}),
            User(plan["owner"]),
            *(File(entry) for entry in gateway["directories"]),
            Programs(gateway["programs"]),
            *(File(entry) for entry in gateway["files"]),
            Network(gateway["network"]),
            Certificates(gateway["certificates"]),
            *(Unit(entry) for entry in gateway["units"]),
            Gateway(gateway, client),
            Users(gateway, client),
        ],
    }
    found.update({f"serving/{kind}": serving_of(planned, credentials) for kind, planned in plan.get("serving", {}).items()})
    if plan.get("proxy"):
        found["proxy"] = serving_of(plan["proxy"], credentials)
    if inference:
        key, key_file = inference["provider"]["key"], inference.get("key_file")
        secret = {"credential_files": {key: key_file}} if key_file else {"credentials": {key: credentials.get(inference["credential"], "")}}
        found["inference"] = [
            Provider({**inference["provider"], **secret}, client),
            Route(inference["route"], client),
        ]
    for sandbox in plan["sandboxes"]:
        steps: list[Resource] = [Unit(sandbox["unit"]), Forward(forward_of(plan, sandbox))]
        if sandbox["state"] == "absent":
            steps.append(Sandbox(sandbox, client))
        else:
            created = Sandbox(sandbox["create"], client)
            steps = [Image(image_of(sandbox)), created, Policy({"sandbox": sandbox["name"], "policy": sandbox["create"]["policy"]}, client), *steps]
        if "registry" in sandbox:  # plans of before have none
            steps.append(Registry(sandbox["registry"]))
        found[f"sandbox/{sandbox['name']}"] = steps
    left = plan.get("leftovers") or {}
    unasked = {**left.get("serving", {}), **({"proxy": left["proxy"]} if left.get("proxy") else {})}
    found.update({f"leftover/{kind}": serving_of(planned, {}) for kind, planned in unasked.items()})
    return found


def drift(plan: dict[str, t.Any], client: OpenShell, credentials: dict[str, str]) -> Drift:
    """Compare the whole plan. Where no gateway ever was, nothing of it exists; where one is down, its contents are unknown, not different."""
    result = Drift({}, [], [])
    readable, registered, runnable = True, True, True
    for component, resources in components(plan, client, credentials).items():
        changes: list[Change] = []
        absent_sandbox = False
        for resource in resources:
            if isinstance(resource, Gateway) and not runnable:
                result.unknown.append(f"{resource.kind}/{resource.name}")
                readable = False
                continue
            if resource.kind in GATEWAY_KINDS and not readable:
                if registered:
                    result.unknown.append(f"{resource.kind}/{resource.name}")
                    continue
                state: dict[str, t.Any] = {}
            else:
                state = resource.read()
            if isinstance(resource, Programs):
                runnable = resource.runs(state)
            if isinstance(resource, Gateway):
                registered, readable = bool(state), bool(state.get("connected"))
            if isinstance(resource, Sandbox):
                absent_sandbox = not state
                result.refused.extend(resource.spec_changes(state))
            if isinstance(resource, Policy):
                if absent_sandbox:  # its creation carries the policy
                    continue
                result.refused.extend(resource.static_changes(state))
            changes += resource.diff(state)
        result.changes[component] = changes
    return result
