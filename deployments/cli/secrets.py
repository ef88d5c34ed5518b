"""Codes that a person types: never echoed, never taken from a pipe by surprise."""

import getpass
import sys

from tasks.guardrails.errors import BadInput


def code_of(approver: str, given: str) -> str:
    """Give an approver's code, asked for on the terminal where it was not given.

    Args:
        approver: Who they say they are.
        given: The code from the command line; '-' for a line of standard input, so that no other
            user of this machine reads it among the processes; '' to ask.

    Raises:
        BadInput: There is neither a code nor a terminal to ask on.
    """
    if given == "-":
        return sys.stdin.readline().strip()
    if given:
        return given
    if not sys.stdin.isatty():
        raise BadInput(
            expected="--code, or a terminal to ask for it.",
            found="neither.",
            todo="Give --code with what the authenticator shows, or --code=- and a line of input.",
        )
    return getpass.getpass(f"Code of {approver}: ").strip()
