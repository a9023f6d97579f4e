# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parser under vLLM's name for it: underscores in a flag are dashes, and --flag.key belongs to --flag."""

import argparse


class FlexibleArgumentParser(argparse.ArgumentParser):
    def parse_args(self, args=None, namespace=None):
        return super().parse_args([self._plain(word) for word in args or []], namespace)

    @staticmethod
    def _plain(word):
        if not word.startswith("--"):
            return word
        name, equals, value = word.partition("=")
        return name.partition(".")[0].replace("_", "-") + equals + value
