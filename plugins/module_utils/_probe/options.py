# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of host_probe. Private to the collection."""

from __future__ import annotations

TEXT = {"type": "str", "default": ""}
PORT = {"port": {"type": "int", "required": True}, "purpose": TEXT}
PLANNED_PORT = {**PORT, "address": {"type": "str", "default": "127.0.0.1"}, "ours": TEXT, "variable": TEXT}
NETWORK = {"name": TEXT, "subnet": TEXT, "address": TEXT, "ports": {"type": "list", "elements": "int", "default": []}}
DISK = {"path": {"type": "str", "required": True}, "purpose": TEXT, "min_gb": {"type": "int", "required": True}}
ARGUMENTS = {
    "users": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "dict", "default": [], "options": PLANNED_PORT},
    "network": {"type": "dict", "default": {}, "options": NETWORK},
    "services": {"type": "list", "elements": "dict", "default": [], "options": PORT},
    "ollama_port": {"type": "int", "default": 11434},
    "openai_ports": {"type": "list", "elements": "int", "default": [8000]},
    "disks": {"type": "list", "elements": "dict", "default": [], "options": DISK},
    "caches": {"type": "list", "elements": "str", "default": []},
    "no_proxy": {"type": "list", "elements": "str", "default": ["localhost", "127.0.0.1"]},
    "gpu": {"type": "bool", "default": False},
    "controller_time": {"type": "float", "default": 0},
    "bin_dir": {"type": "str", "default": "/usr/local/bin"},
    "openshell_min": TEXT,
    "openshell_max": TEXT,
    "docker_min": {"type": "str", "default": "20.10.0"},
    "min_glibc": {"type": "str", "default": "2.28"},
    "min_cpus": {"type": "int", "default": 4},
    "min_memory_mb": {"type": "int", "default": 7600},
    "recommended_memory_mb": {"type": "int", "default": 15200},
    "min_memory_and_swap_mb": {"type": "int", "default": 12000},
    "min_disk_gb": {"type": "int", "default": 20},
    "recommended_disk_gb": {"type": "int", "default": 40},
    "min_driver": {"type": "str", "default": "525.60.13"},
    "min_toolkit": {"type": "str", "default": "1.12.0"},
    "repair": {"type": "list", "elements": "str", "default": []},
    "gpu_timeout": {"type": "int", "default": 20},
}
