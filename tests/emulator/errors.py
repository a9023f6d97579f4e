# SPDX-FileCopyrightText: nemoclaw.fleet contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways a call ends badly, shared by the command line and the gateway."""

from __future__ import annotations

CODES = {
    "NOT_FOUND": "Some requested entity was not found",
    "ALREADY_EXISTS": "Some entity that we attempted to create already exists",
    "INVALID_ARGUMENT": "Client specified an invalid argument",
    "FAILED_PRECONDITION": "The system is not in a state required for the operation's execution",
    "ABORTED": "The operation was aborted",
    "PERMISSION_DENIED": "The caller does not have permission to execute the specified operation",
    "UNAUTHENTICATED": "The request does not have valid authentication credentials",
    "UNAVAILABLE": "The service is currently unavailable",
    "UNIMPLEMENTED": "Operation is not implemented or not supported",
    "INTERNAL": "Internal error",
}


class Failure(Exception):
    """An error as the command line prints it: a message and the chain of its causes; exit 1."""

    def __init__(self, message, *causes):
        super().__init__(message)
        self.message, self.causes = message, causes


class Refusal(Exception):
    """An error the gateway answers with: a code of `CODES` and a message."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message

    def __str__(self):
        return f"code: '{CODES[self.code]}', message: \"{self.message}\""


class NotRecorded(Exception):
    """What no transcript shows; the emulator refuses it rather than guesses. Exit 70."""

    def __init__(self, what):
        super().__init__(f"openshell emulator: what the real program does for {what!r} is not recorded; record it, then teach the emulator")


def invalid(message):
    return Refusal("INVALID_ARGUMENT", message)


def precondition(message):
    return Refusal("FAILED_PRECONDITION", message)


def missing(message):
    return Refusal("NOT_FOUND", message)
