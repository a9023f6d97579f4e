# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of host_probe: what an onboarding wants of a host."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
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
        description: Beginning of the name of the unit that may hold it. No unit may when it is empty.
        type: str
        default: ""
      variable: {description: Variable that sets it; appears in the remedy., type: str, default: ""}
  network:
    description: The Docker network of the sandboxes. Its name must not be another's, and the firewall must let it through. Not checked when empty.
    type: dict
    default: {}
    suboptions:
      name: {description: Name of the network., type: str, default: ""}
      subnet: {description: Its subnet as CIDR., type: str, default: ""}
      address: {description: The host's address on it., type: str, default: ""}
      ports:
        description: TCP ports of the host that sandboxes must reach.
        type: list
        elements: int
        default: []
  services:
    description: TCP ports whose holders are told, without a judgement.
    type: list
    elements: dict
    default: []
    suboptions:
      port: {description: Number of the port., type: int, required: true}
      purpose: {description: What usually listens there., type: str, default: ""}
  ollama_port:
    description: TCP port on which Ollama is asked, where one listens.
    type: int
    default: 11434
  openai_ports:
    description: TCP ports on which servers with an OpenAI-compatible API are asked for their models, where something listens.
    type: list
    elements: int
    default: [8000]
  disks:
    description: Further paths that need free space, such as a cache of models; they need not exist yet.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: The path., type: str, required: true}
      purpose: {description: What it is for., type: str, default: ""}
      min_gb: {description: "Less free space, in GB, is a warning.", type: int, required: true}
  caches:
    description: Directories of models' files, such as C(~nemoclaw/.cache/huggingface); they need not exist yet.
    type: list
    elements: str
    default: []
  no_proxy:
    description: Names, addresses and networks that must not be reached by a proxy.
    type: list
    elements: str
    default: [localhost, 127.0.0.1]
  gpu:
    description: Whether a sandbox wants a GPU. What it needs is then an error when it is missing, else an information.
    type: bool
    default: false
  controller_time:
    description: The controller's time in seconds since 1970. The clock is not compared when it is 0.
    type: float
    default: 0
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
    default: 7600
  recommended_memory_mb:
    description: Less memory, in MiB, is worth telling.
    type: int
    default: 15200
  min_memory_and_swap_mb:
    description: Less memory and swap together, in MiB, is a warning.
    type: int
    default: 12000
  min_disk_gb:
    description: Less free space, in GB, on C(/) or on a file system of the engine's data or images is a warning.
    type: int
    default: 20
  recommended_disk_gb:
    description: Less free space, in GB, there is worth telling.
    type: int
    default: 40
  min_driver:
    description: Oldest supported driver of NVIDIA.
    type: str
    default: 525.60.13
  min_toolkit:
    description: Oldest supported NVIDIA Container Toolkit.
    type: str
    default: 1.12.0
  repair:
    description:
      - What the caller repairs by itself; errors of it become warnings.
      - V(swap), V(docker), V(group), V(firewall), V(clock), V(cdi), or the name of a check.
    type: list
    elements: str
    default: []
  gpu_timeout:
    description: Seconds that C(nvidia-smi) may take.
    type: int
    default: 20
"""
