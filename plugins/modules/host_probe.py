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
  - Reads in one call what a plan needs to know of a host, and judges it.
  - Every check is reported at once. The module itself does not fail; the role P(nemoclaw.fleet.preflight#role) stops on errors.
  - Needs nothing but Python on the host. Without C(become) the holders of ports stay unknown.
author: nemoclaw.fleet contributors (@nemoclaw-fleet)
extends_documentation_fragment:
  - nemoclaw.fleet.attributes
  - nemoclaw.fleet.attributes.info_module
  - nemoclaw.fleet.host_probe
seealso:
  - module: nemoclaw.fleet.gpu_info
"""

EXAMPLES = r"""
- name: Look at the host
  nemoclaw.fleet.host_probe:
    users: [nemoclaw]
    ports:
      - {port: 8080, purpose: gateway, ours: nemoclaw-gateway.service, variable: nemoclaw_gateway.port}
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
      detail: 127.0.0.1:8080 (gateway) is held by nginx (pid 812, user root) on 0.0.0.0
      remedy: Set nemoclaw_gateway.port to a free port.
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
table:
  description: All checks as lines to read, failed ones first.
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
    seccomp: {description: Whether the kernel has seccomp filters., type: bool}
    cgroup_controllers: {description: Those of cpu memory and pids that are on., type: list, elements: str, sample: [cpu, memory, pids]}
    overlay: {description: Whether the kernel has overlayfs., type: bool}
    user_namespaces: {description: Who may make user namespaces., type: str, sample: all}
    selinux: {description: Mode of SELinux; empty without it., type: str, sample: enforcing}
    apparmor: {description: Whether AppArmor is on., type: bool}
    disks:
      description:
        - C(/), data and images of the engine, and O(disks), each with C(purpose), size and free space, C(mount), C(type) and C(options).
      type: dict
      sample: {/: {purpose: system, total_gb: 480, free_gb: 301, mount: /, type: ext4, options: []}}
    caches:
      description: O(caches), each with C(free_gb), C(mount) and C(models), bytes of each in a Hugging Face cache by revision.
      type: dict
      sample: {/srv/models: {free_gb: 301, mount: /, models: {org/model: {e89b16eb: 309123}}}}
    data_root: {description: Where the engine keeps data., type: str}
    image_root: {description: Where images lie., type: str}
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
        - C(cdi_spec_dirs) is empty when CDI is off; C(errors) are the engine's own.
      type: dict
      sample:
        {cli: /usr/bin/docker, present: true, running: true, error: "", engine: docker, version: 26.1.5, storage_driver: overlay2,
         data_root: /var/lib/docker, cgroup_driver: systemd, cdi_spec_dirs: [/etc/cdi], runtimes: [runc],
         networks: {bridge: {driver: bridge, subnets: [172.17.0.0/16], gateway: 172.17.0.1, interface: docker0, mtu: 1500, gateway_of: ""}},
         sandboxes: [{name: assistant, gateway: nemoclaw, state: running}], images: ["org/image:1"], packages: [docker.io],
         servers: [{kind: nim, name: nemoclaw-nim, state: running, port: 8000}], strangers: [nemoclaw-vllm]}
    openshell:
      description: C(path) and C(version) of each of OpenShell's programs; empty when missing.
      type: dict
      sample: {openshell: {path: /usr/local/bin/openshell, version: 0.0.106}}
    ports:
      description: The ports of O(ports), each with C(listeners) that stand in the way or hold it for us.
      type: list
      elements: dict
      sample:
        - {port: 8080, address: 127.0.0.1, purpose: gateway, listeners: [{user: nemoclaw, pid: 47, process: openshell-gatew, unit: a.service}]}
    networks:
      description: C(routes) are IPv4 networks with a route, C(local) all addresses, C(addresses) and C(mtu) are by interface, C(uplink) has the default route.
      type: dict
      sample: {routes: [10.1.0.0/24, 172.17.0.0/16], addresses: {eth0: 10.1.0.7}, uplink: eth0, mtu: {eth0: 1500}}
    dns:
      description: The name servers of the host and of containers, and what each answered to a name that does not exist.
      type: dict
      sample: {servers: [10.1.0.1], answers: {10.1.0.1: NXDOMAIN}, container: [10.1.0.1]}
    firewall:
      description: Who administers the firewall, and what becomes of a connection from a sandbox to each port of O(network).
      type: dict
      sample: {manager: ufw, readable: true, ports: [{port: 8080, verdict: drop, chain: INPUT}]}
    clock: {description: Who keeps the clock and how far it is from the controller's., type: dict, sample: {synchronised: true, service: chrony, offset_s: 0}}
    servers:
      description:
        - C(ollama) is program, unit, listeners and models; C(proxies) are ours.
        - C(held) are O(openai_ports) where something listens; C(openai) lists models or asks for a key.
        - C(nim) is, by container, the id that a NIM was told to serve as and the one it serves.
      type: dict
      sample:
        ollama: {path: /usr/bin/ollama, version: 0.13.5, unit: {}, ours: true, port: 11434, listeners: [], running: "", models: []}
        openai: [{port: 8000, listeners: [], key_needed: false, models: [{id: org/model, max_model_len: 32768}]}]
        held: []
        proxies: [{gateway: nemoclaw, ports: [11435], backends: [11434]}]
        nim: {nemoclaw-nim: {image: "i:1", asked: m, served: org/m}}
    services: {description: The ports of O(services) with their listeners., type: list, elements: dict}
    gateways: {description: Names of our gateways., type: list, elements: str}
    lingering: {description: Users whose own gateway of OpenShell may start at boot., type: list, elements: str}
    credential_helpers: {description: Helpers for registries that an account names and that are not there., type: dict, sample: {nemoclaw: ""}}
    cdi: {description: The Container Toolkit and the CDI specifications., type: dict}
    package_hosts:
      description: Where the host's own package clients get their packages from; only clients that are configured.
      type: dict
      sample: {pypi: [mirror.example.org], npm: ["mirror.example.org:8443"]}
    proxy: {description: Proxy settings of the environment., type: dict, sample: {http_proxy: "", no_proxy: localhost}}
    existing:
      description: Traces of a NemoClaw or OpenShell of others, as C(kind) and C(what).
      type: list
      elements: dict
      sample: [{kind: nemoclaw, what: /home/ann/.nemoclaw/sandboxes.json}]
    gpu: {description: The RV(nemoclaw.fleet.gpu_info#module:gpu) of M(nemoclaw.fleet.gpu_info)., type: dict}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe import facts
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.checks import suite
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.host import Host
from ansible_collections.nemoclaw.fleet.plugins.module_utils._probe.options import ARGUMENTS


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    found = facts.gather(Host(), module.params)
    results = suite.run(found, module.params)
    module.exit_json(
        changed=False,
        facts=found,
        checks=results,
        report=suite.table([one for one in results if not one["ok"]]),
        table=suite.table(results),
        ok=suite.ok(results),
    )


if __name__ == "__main__":
    main()
