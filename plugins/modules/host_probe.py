#!/usr/bin/python
# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: host_probe
short_description: Facts of a host and whether agents can be onboarded on it
version_added: 0.1.0
description:
  - Reads in one call what a plan needs to know about a host, and judges it. Read-only.
  - Every check is reported at once. The module itself does not fail; the role P(nemoclaw.fleet.preflight#role) stops on errors.
  - Needs nothing but Python on the host. Without C(become) the holders of ports stay unknown.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
options:
  users:
    description: Accounts to describe.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports that an onboarding needs.
    type: list
    elements: dict
    default: []
    suboptions:
      port: {description: Number of the port., type: int, required: true}
      address: {description: Address it will be bound to., type: str, default: 127.0.0.1}
      purpose: {description: What it is for; appears in the message., type: str, default: ""}
      ours:
        description: Beginning of the name of the unit that may hold it. When empty, every unit of O(own_units) may.
        type: str
        default: ""
      variable: {description: Variable that sets it; appears in the remedy., type: str, default: ""}
  own_units:
    description: Beginnings of the names of units that this collection makes.
    type: list
    elements: str
    default: [nemoclaw-]
  bin_dir:
    description: Directory of OpenShell's programs. They are looked for on the PATH too.
    type: str
    default: /usr/local/bin
  openshell_min:
    description: Oldest supported version of OpenShell. Not checked when empty.
    type: str
    default: ""
  openshell_max:
    description: First version of OpenShell that is no longer supported. Not checked when empty.
    type: str
    default: ""
  docker_min:
    description: Oldest supported version of the Docker engine.
    type: str
    default: 20.10.0
  min_glibc:
    description: Oldest glibc that OpenShell's programs run with.
    type: str
    default: "2.28"
  min_cpus:
    description: Fewer CPUs are a warning.
    type: int
    default: 4
  min_memory_mb:
    description: Less memory, in MiB, is a warning.
    type: int
    default: 8192
  min_disk_gb:
    description: Less free space, in GB, on C(/) or on the file system of the engine's data root is a warning.
    type: int
    default: 20
  repair:
    description: Names of checks whose fault the caller repairs by itself. Their errors become warnings.
    type: list
    elements: str
    default: []
  gpu_timeout:
    description: Seconds that C(nvidia-smi) may take.
    type: int
    default: 20
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.info_module
seealso:
  - module: nemoclaw.fleet.gpu_info
"""

EXAMPLES = r"""
- name: Look at the host
  nemoclaw.fleet.host_probe:
    users: [nemoclaw]
    ports:
      - {port: 8080, purpose: gateway, ours: nemoclaw-gateway.service, variable: nemoclaw_gateway.port}
      - {port: 18789, purpose: dashboard of assistant}
  become: true
  register: probe
"""

RETURN = r"""
ok:
  description: Whether no check of severity V(error) failed.
  returned: always
  type: bool
checks:
  description: All checks, failed ones first.
  returned: always
  type: list
  elements: dict
  sample:
    - name: port_8080
      ok: false
      severity: error
      detail: 127.0.0.1:8080 (gateway) is held by nginx (pid 812, user root, nginx.service) on 0.0.0.0
      remedy: Stop it ('systemctl disable --now nginx.service') or set nemoclaw_gateway.port to a free port.
  contains:
    name: {description: Name of the check; stable., type: str}
    ok: {description: Whether all is well., type: bool}
    severity: {description: What a fault of this check means., type: str, choices: [error, warning, info]}
    detail: {description: What was found., type: str}
    remedy: {description: A command or a variable; empty when all is well., type: str}
report:
  description: The failed checks as lines to read.
  returned: always
  type: list
  elements: str
facts:
  description: The facts; passwords in proxy URLs are masked.
  returned: always
  type: dict
  contains:
    system: {description: Name of the kernel., type: str, sample: Linux}
    arch: {description: Machine architecture., type: str, sample: x86_64}
    kernel: {description: Release of the kernel., type: str, sample: 6.1.0-18-amd64}
    distribution:
      description: C(id), C(version), C(name) and C(like) of the distribution.
      type: dict
      sample: {id: ubuntu, version: "24.04", name: Ubuntu 24.04.3 LTS, like: [debian]}
    glibc: {description: Version of glibc., type: str, sample: "2.36"}
    init: {description: Name of process 1., type: str, sample: systemd}
    cgroup_version: {description: Version of cgroups in use., type: int, sample: 2}
    landlock_abi: {description: Landlock ABI of the kernel; 0 is none., type: int, sample: 4}
    lsm: {description: Security modules of the kernel; empty when not readable., type: list, elements: str, sample: [apparmor, landlock]}
    cpus: {description: CPUs that processes may use., type: int, sample: 20}
    memory_mb: {description: Memory in MiB., type: int, sample: 124610}
    swap_mb: {description: Swap space in MiB., type: int, sample: 0}
    disks:
      description: C(total_gb) and C(free_gb), in GB, of C(/) and of the engine's data root.
      type: dict
      sample: {/: {total_gb: 480, free_gb: 301}}
    python:
      description: C(version), and in C(modules) the version of each module; empty when missing.
      type: dict
      sample: {version: 3.11.2, modules: {docker: 5.0.3, requests: 2.28.1, yaml: "6.0"}}
    users:
      description: The accounts of O(users); null for one that does not exist.
      type: dict
      sample: {nemoclaw: {uid: 999, gid: 999, home: /home/nemoclaw, shell: /bin/bash, groups: [docker, nemoclaw]}}
    docker:
      description:
        - The container engine. Only C(cli), C(present), C(running) and C(error) are there when it does not answer.
        - C(cdi_spec_dirs) is empty when CDI is off; C(errors) are faults that the engine reports of itself.
      type: dict
      sample:
        cli: /usr/bin/docker
        present: true
        running: true
        error: ""
        engine: docker
        version: 26.1.5
        api_version: "1.45"
        storage_driver: overlay2
        data_root: /var/lib/docker
        cgroup_driver: systemd
        cgroup_version: 2
        cdi_spec_dirs: [/etc/cdi]
        runtimes: [runc]
        security_options: ["name=seccomp,profile=builtin"]
        containers_running: 3
        errors: []
        http_proxy: ""
        https_proxy: ""
        no_proxy: ""
        networks: {bridge: {driver: bridge, subnets: [172.17.0.0/16], gateway: 172.17.0.1}}
    openshell:
      description: C(path) and C(version) of each of OpenShell's programs; empty when missing.
      type: dict
      sample: {openshell: {path: /usr/local/bin/openshell, version: 0.0.106}}
    ports:
      description: The ports of O(ports), each with C(listeners) that stand in the way or hold it for us.
      type: list
      elements: dict
      sample:
        - port: 8080
          address: 127.0.0.1
          purpose: gateway
          ours: ""
          variable: ""
          listeners: [{address: 127.0.0.1, user: nemoclaw, pid: 47, process: openshell-gatew, unit: nemoclaw-gateway.service}]
    networks:
      description: C(routes) are the IPv4 networks this host has a route to, C(addresses) the IPv4 address of each interface.
      type: dict
      sample: {routes: [10.1.0.0/24, 172.17.0.0/16], addresses: {eth0: 10.1.0.7}}
    proxy: {description: Proxy settings of the environment., type: dict, sample: {http_proxy: "", https_proxy: "", no_proxy: ""}}
    existing:
      description: Traces of a NemoClaw or OpenShell that was not installed by this collection, as C(kind) and C(what).
      type: list
      elements: dict
      sample: [{kind: nemoclaw, what: /home/ann/.nemoclaw/sandboxes.json}]
    gpu: {description: The RV(nemoclaw.fleet.gpu_info#module:gpu) of M(nemoclaw.fleet.gpu_info)., type: dict}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import checks, facts
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host

PORT = {
    "port": {"type": "int", "required": True},
    "address": {"type": "str", "default": "127.0.0.1"},
    "purpose": {"type": "str", "default": ""},
    "ours": {"type": "str", "default": ""},
    "variable": {"type": "str", "default": ""},
}
ARGUMENTS = {
    "users": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "dict", "default": [], "options": PORT},
    "own_units": {"type": "list", "elements": "str", "default": ["nemoclaw-"]},
    "bin_dir": {"type": "str", "default": "/usr/local/bin"},
    "openshell_min": {"type": "str", "default": ""},
    "openshell_max": {"type": "str", "default": ""},
    "docker_min": {"type": "str", "default": "20.10.0"},
    "min_glibc": {"type": "str", "default": "2.28"},
    "min_cpus": {"type": "int", "default": 4},
    "min_memory_mb": {"type": "int", "default": 8192},
    "min_disk_gb": {"type": "int", "default": 20},
    "repair": {"type": "list", "elements": "str", "default": []},
    "gpu_timeout": {"type": "int", "default": 20},
}


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    options = module.params
    found = facts.gather(Host(), options["users"], options["ports"], options["bin_dir"], options["gpu_timeout"])
    results = checks.run(found, options)
    module.exit_json(
        changed=False,
        facts=found,
        checks=results,
        report=checks.report(results),
        ok=not any(one["severity"] == "error" and not one["ok"] for one in results),
    )


if __name__ == "__main__":
    main()
