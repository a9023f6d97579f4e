# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line under vLLM's name for it."""

from vllm.entrypoints.common.cli_args import make_arg_parser


class ServeSubcommand:
    def subparser_init(self, subparsers):
        return make_arg_parser(subparsers.add_parser("serve"))

    def validate(self, args):
        if args.enable_auto_tool_choice and not args.tool_call_parser:
            raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")


def cmd_init():
    return [ServeSubcommand()]
