# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments, parsed from the recorded help texts (data/help): they name every flag, value, default and positional of a command.

What a help text does not say - which flags repeat, exclude or need each other - is in the small tables of `grammar`. Usage errors read as
those of the real programs, which are built with Rust's clap.
"""

from __future__ import annotations

import difflib
import os
import re
import sys

from . import grammar

HELP = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "help")
FLAG = re.compile(r"^ {2,6}(?:(-\w), )?(--[\w-]+|-\w)(?: (\[?<[^>]*>\]?))?(\.\.\.)?(?= |$)")
POSITIONAL = re.compile(r"^ {2,6}(?:<([A-Z_-]+)>|\[([A-Z_-]+)\])(\.\.\.)?(?= |$)")
VALUES = re.compile(r"\[possible values: ([^\]]+)\]")
DEFAULT = re.compile(r"\[default: ([^\]]*)\]")
ENVIRONMENT = re.compile(r"\[env: (\w+)=\]")


class Usage(Exception):
    """A usage error; its text goes to stderr, the exit code is 2."""


class Argument:
    def __init__(self, key, label, value=None, short=None):
        self.key, self.label, self.value, self.short = key, label, value, short
        self.default = self.choices = self.env = None
        self.repeat = self.required = self.optional_value = self.positional = self.many = False

    @property
    def shown(self):
        """How messages name it: `--name <NAME>`, `<NAME>`, `[NAME]`, `<COMMAND>...`."""
        if self.positional:
            text = f"<{self.value}>" if self.required else f"[{self.value}]"
            return text + ("..." if self.many else "")
        return f"{self.label} {'[' if self.optional_value else ''}<{self.value}>{']' if self.optional_value else ''}" if self.value else self.label


class Command:
    """One command's arguments, read from its help text."""

    def __init__(self, words):
        self.words = words
        self.text = help_text(words)
        self.rules = grammar.RULES.get(" ".join(words[1:]), {})
        usage = re.search(r"(?:USAGE\n {2}|Usage: )(.+)", self.text).group(1)
        self.usage = usage if usage.startswith(words[0]) else f"{' '.join(words)} {usage.partition(' ')[2]}"
        self.subcommands = re.findall(
            r"(?m)^ {2}([a-z][a-z-]*):? {2,}\S",
            self.text.partition("FLAGS")[0].partition("COMMANDS" if "COMMANDS" in self.text else "Commands:")[2],
        )
        if len(words) == 1 and words[0] == "openshell":
            self.subcommands += [name for name in ("workspace", "rule") if name not in self.subcommands]
        self.arguments = self._arguments()

    def _arguments(self):
        found, last = [], None
        for line in self.text.splitlines():
            flag, positional = FLAG.match(line), POSITIONAL.match(line)
            if flag:
                short, label, value, dots = flag.groups()
                last = Argument(label.lstrip("-").replace("-", "_"), label, value and value.strip("[]")[1:-1], short)
                last.optional_value = bool(value and value.startswith("["))
                last.repeat = bool(dots) or label in self.rules.get("repeat", ())
                found.append(last)
            elif positional:
                name = positional.group(1) or positional.group(2)
                last = Argument(name.lower().replace("-", "_"), None, name)
                last.positional, last.required, last.many = True, bool(positional.group(1)), bool(positional.group(3))
                found.append(last)
            if last:
                for attribute, pattern in (("choices", VALUES), ("default", DEFAULT), ("env", ENVIRONMENT)):
                    match = pattern.search(line)
                    if match:
                        setattr(last, attribute, match.group(1))
        options = self.usage.partition("[OPTIONS]")[2] or self.usage
        for argument in found:
            if argument.choices:
                argument.choices = argument.choices.split(", ")
            if argument.default is not None:
                argument.default = argument.default.strip('"')
            if not argument.positional and re.search(rf"(?<![\w\[<|-]){argument.label}(?![\w-])", options):
                argument.required = f"<{argument.label}" not in options
        order = re.findall(r"[<\[](?:-- <)?([A-Z_-]+)[>\]]", self.usage)
        positionals = sorted((a for a in found if a.positional), key=lambda a: order.index(a.value) if a.value in order else 99)
        return [a for a in found if not a.positional] + positionals

    def flag(self, word):
        return next((a for a in self.arguments if word and word in (a.label, a.short)), None)

    @property
    def positionals(self):
        return [a for a in self.arguments if a.positional]

    def smart_usage(self, used):
        """The usage line of an error: required and used options, all positionals."""
        if not used:
            return self.usage
        group = self.rules.get("one_of", ())
        parts = [" ".join(self.words)]
        parts += [a.shown for a in self.arguments if not a.positional and a.label not in group and (a.required or a in used)]
        if group:
            parts.append(self.group_shown())
        for argument in self.positionals:
            if self.rules.get("last") == argument.value:
                parts.append(f"[-- <{argument.value}>...]")
            else:
                dots = "..." if argument.many else ""
                parts.append(f"<{argument.value}>{dots}" if argument in used or argument.required else f"[{argument.value}]{dots}")
        return " ".join(parts)

    def group_shown(self):
        return "<" + "|".join(self.flag(label).shown for label in self.rules["one_of"]) + ">"


def help_text(words):
    try:
        with open(os.path.join(HELP, ".".join(words) + ".txt"), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        from ..errors import NotRecorded

        raise NotRecorded(" ".join(words)) from None


class Matches(dict):
    """Values by key: None, a string, True, or a list for arguments that repeat. `given` has the arguments that were on the command line."""

    def __init__(self):
        super().__init__()
        self.given = []

    __getattr__ = dict.get


def parse(program, words):
    """(command words, Matches) of a command line; prints help or version and exits where the real program does."""
    path, command, matches = [program], Command([program]), Matches()
    rest, index, positional, only_positionals = list(words), 0, 0, False
    while index < len(rest):
        word = rest[index]
        index += 1
        if only_positionals:
            positional = _positional(command, matches, positional, word)
        elif word == "--" and (not command.subcommands):
            only_positionals = True
            if command.rules.get("last"):
                positional = len(command.positionals) - 1
        elif word in ("--help", "-h"):
            sys.stdout.write(command.text)
            sys.exit(0)
        elif word in ("--version", "-V"):
            from .. import VERSION

            print(program, VERSION)
            sys.exit(0)
        elif word.startswith("--"):
            label, equals, value = word.partition("=")
            index = _option(command, matches, command.flag(label), label, value if equals else None, rest, index)
        elif word.startswith("-") and len(word) > 1 and not _hyphen_value(command, positional):
            flag = command.flag(word[:2])
            if flag is None:
                raise _unexpected(command, word[:2])
            attached = word[2:].removeprefix("=") or None
            if flag.value is None and attached:
                rest.insert(index, "-" + attached)
                attached = None
            index = _option(command, matches, flag, word[:2], attached, rest, index)
        elif command.subcommands:
            path = [*path, _subcommand(command, word)]
            command = Command(path)
        else:
            if command.rules.get("last") and positional == len(command.positionals) - 1:
                raise _unexpected(command, word)
            positional = _positional(command, matches, positional, word)
            if command.positionals[positional - 1 if positional else 0].many and command.rules.get("trailing"):
                only_positionals = positional == len(command.positionals) - 1 or positional == len(command.positionals)
    if command.subcommands:
        if program == "openshell":
            sys.stdout.write(bare_help(command))
            sys.exit(0)
        return path, _finish(command, matches)
    return path, _finish(command, matches)


def bare_help(command):
    """A group without a subcommand prints its help; the real one leaves the global flags out then."""
    return command.text


def _hyphen_value(command, positional):
    return bool(command.rules.get("trailing")) and positional and command.positionals[-1].many and len(command.positionals) == positional


def _subcommand(command, word):
    word = grammar.ALIASES.get(word, word) if len(command.words) == 1 else word
    if word in command.subcommands or word in grammar.HIDDEN.get(" ".join(command.words[1:]), ()):
        return word
    if word == "help":
        sys.stdout.write(command.text)
        sys.exit(0)
    similar = difflib.get_close_matches(word, command.subcommands, 1, 0.7)
    tip = f"  tip: a similar subcommand exists: '{similar[0]}'\n\n" if similar else ""
    usage = f"{' '.join(command.words)} [OPTIONS] [COMMAND]"
    raise Usage(f"error: unrecognized subcommand '{word}'\n\n{tip}Usage: {usage}\n\nFor more information, try '--help'.\n")


def _option(command, matches, argument, label, value, rest, index):
    if argument is None:
        raise _unexpected(command, label, matches.given)
    if argument.value is None:
        if value is not None:
            raise Usage(
                f"error: unexpected value '{value}' for '{argument.label}' found; no more were expected\n\n"
                f"Usage: {command.smart_usage([argument])}\n\nFor more information, try '--help'.\n"
            )
        matches[argument.key] = matches.get(argument.key, 0) + 1 if argument.repeat else True
        _mark(command, matches, argument)
        return index
    if value is None:
        following = rest[index] if index < len(rest) else None
        if following is not None and (not following.startswith("-") or following == "-"):
            value, index = following, index + 1
        elif argument.optional_value:
            value = ""
        elif following in (None, "--") or command.flag(following.partition("=")[0]) or following in ("--help", "-h"):
            raise Usage(f"error: a value is required for '{argument.shown}' but none was supplied\n\nFor more information, try '--help'.\n")
        else:
            raise _unexpected(command, following if following.startswith("--") else following[:2], matches.given)
    _store(command, matches, argument, value)
    return index


def _store(command, matches, argument, value):
    if argument.choices and value not in argument.choices:
        similar = difflib.get_close_matches(value, argument.choices, 1, 0.5)
        tip = f"  tip: a similar value exists: '{similar[0]}'\n\n" if similar else ""
        raise Usage(
            f"error: invalid value '{value}' for '{argument.shown}'\n  [possible values: {', '.join(argument.choices)}]\n\n"
            f"{tip}For more information, try '--help'.\n"
        )
    kind = command.rules.get("types", {}).get(argument.key)
    problem = kind and grammar.problem(kind, value)
    if problem:
        raise Usage(f"error: invalid value '{value}' for '{argument.shown}': {problem}\n\nFor more information, try '--help'.\n")
    if argument.repeat or argument.many:
        matches.setdefault(argument.key, []).append(value)
    elif argument in matches.given and not argument.positional:
        raise Usage(f"error: the argument '{argument.shown}' cannot be used multiple times\n\nUsage: {command.usage}\n\nFor more information, try '--help'.\n")
    else:
        matches[argument.key] = value
    _mark(command, matches, argument)


def _mark(command, matches, argument):
    if argument not in matches.given:
        matches.given.append(argument)
    for one, other in command.rules.get("overrides", ()):
        if argument.key in (one, other):
            matches.pop(other if argument.key == one else one, None)


def _positional(command, matches, index, word):
    arguments = command.positionals
    if index >= len(arguments):
        raise _unexpected(command, word)
    _store(command, matches, arguments[index], word)
    return index if arguments[index].many else index + 1


def _unexpected(command, word, used=()):
    tip, used = "", list(used)
    if word.startswith("--"):
        labels = [a.label for a in command.arguments if (a.label or "").startswith("--")]
        similar = difflib.get_close_matches(word, labels, 1, 0.8)
        if similar:
            tip = f"  tip: a similar argument exists: '{similar[0]}'\n\n"
            used = [*used, command.flag(similar[0])]
    if not tip and word.startswith("-") and command.positionals:
        tip = f"  tip: to pass '{word}' as a value, use '-- {word}'\n\n"
    usage = command.smart_usage([a for a in used if a]) if word.startswith("--") else command.usage
    return Usage(f"error: unexpected argument '{word}' found\n\n{tip}Usage: {usage}\n\nFor more information, try '--help'.\n")


def _finish(command, matches):
    given = {a.label or a.value for a in matches.given}
    for argument in matches.given:
        name = argument.label or argument.value
        against = [other for pair in command.rules.get("conflicts", ()) if name in pair for other in pair if other != name and other in given]
        if against:
            other = next(a for a in command.arguments if (a.label or a.value) == against[0])
            shown = f"[{other.value}]..." if other.positional and other.many and not other.required else other.shown
            left = [a for a in matches.given if (a.label or a.value) not in against]
            raise Usage(
                f"error: the argument '{argument.shown}' cannot be used with '{shown}'\n\nUsage: {command.smart_usage(left)}\n\n"
                "For more information, try '--help'.\n"
            )
    missing = [
        a.shown
        for a in command.arguments
        if a.required and a not in matches.given and not _excused(command, a, given) and not (a.env and os.environ.get(a.env))
    ]
    missing += [f"{command.flag(needed).shown}" for label, needed in command.rules.get("requires", ()) if label in given and needed not in given]
    if command.rules.get("one_of") and not given & set(command.rules["one_of"]):
        missing.append(command.group_shown())
    if missing:
        options = [text for text in missing if text.startswith("--")]
        missing = options + [text for text in missing if not text.startswith("--")]
        usage = command.smart_usage(matches.given or [a for a in command.arguments if a.required] or [None])
        raise Usage(
            "error: the following required arguments were not provided:\n"
            + "".join(f"  {text}\n" for text in missing)
            + f"\nUsage: {usage}\n\nFor more information, try '--help'.\n"
        )
    for argument in command.arguments:
        if argument.key not in matches:
            value = os.environ.get(argument.env) if argument.env else None
            if argument.value is None and value is not None:
                value = value.lower() not in ("", "0", "false", "no")
            if value in (None, "") and argument.default is not None:
                value = argument.default
            matches[argument.key] = value if value is not None else [] if argument.repeat or argument.many else None
    return matches


def _excused(command, argument, given):
    unless = command.rules.get("required_unless", {}).get(argument.value)
    return unless is not None and unless in given
