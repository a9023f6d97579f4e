# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of `vllm serve`, from a dump of the real parser (0.33.0): every flag with its number of values, its choices and its type."""

import json
import pathlib

DUMP = pathlib.Path("/opt/tiny-agent/vllm/serve-args.json")
TYPES = {"int": int, "float": float}


def make_arg_parser(parser):
    for entry in json.loads(DUMP.read_text())["args"]:
        options = entry["opts"]
        if "--help" in options:
            continue
        if not options[0].startswith("-"):
            parser.add_argument(options[0], nargs=entry["nargs"])
        elif entry["nargs"] == 0:
            parser.add_argument(*options, action="store_true")
        else:
            parser.add_argument(*options, nargs=entry["nargs"], choices=entry["choices"], type=TYPES.get(entry["type"], str))
    return parser
