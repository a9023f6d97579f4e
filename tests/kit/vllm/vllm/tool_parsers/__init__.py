# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parsers of the dump, under vLLM's name for what lists them."""

import json

from vllm.entrypoints.common.cli_args import DUMP


class ToolParserManager:
    @staticmethod
    def list_registered():
        return json.loads(DUMP.read_text())["tool_parsers"]
