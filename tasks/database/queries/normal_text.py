"""Statements as they may be shown: no literal, no comment, in one line.

A literal may be a password or a person's name. What cannot be read for certain is not shown.
"""

import re

from pglast import parser

_LITERALS = {"SCONST", "USCONST", "ICONST", "FCONST", "BCONST", "XCONST"}
COMMENTS = {"SQL_COMMENT", "C_COMMENT"}
# EXPLAIN numbers these: '(hashed SubPlan 1)'.
_NUMBERED = {"subplan", "initplan"}
_LIST = re.compile(r"(\$\d+)(?: ?, ?\$\d+)+")
_ROWS = re.compile(r"(\(\$\d+(?:, \.\.\.)?\))(?: ?, ?\(\$\d+(?:, \.\.\.)?\))+")
_UNREAD = "(text that cannot be read)"
_LONGEST = 300


def with_parameters(text: str) -> str:
    """Give a statement with a parameter in the place of each literal, and without comments.

    Args:
        text: SQL as a server has it, whole or not.

    Returns:
        One line with `$1`, `$2`, ...; parameters that it has keep their numbers. A text that
        PostgreSQL's scanner does not read to the end gives its first word only.
    """
    try:
        tokens = parser.scan(text)
    except (parser.ParseError, ValueError):
        return _unread(text)
    if any(_is_doubtful(text[one.start : one.end + 1]) for one in tokens if one.name == "SCONST"):
        return _unread(text)
    numbers = [int(text[one.start + 1 : one.end + 1]) for one in tokens if one.name == "PARAM"]
    number = max(numbers, default=0)
    pieces, at = [], 0
    for token in tokens:
        if token.name in _LITERALS:
            number += 1
            new = f"${number}"
        elif token.name in COMMENTS:
            new = " "
        else:
            continue
        pieces += [text[at : token.start], new]
        at = token.end + 1
    left = "".join([*pieces, text[at:]]) if tokens else ""
    return " ".join(left.split()).rstrip("; ")


def without_literals(text: str) -> str:
    """Give SQL, or a condition of a plan, with `?` for each value and without comments.

    Args:
        text: A statement, or an expression as EXPLAIN writes it.

    Returns:
        The text in one line. Parameters ($1) stay; so does what a name says. Text that cannot
        even be split into tokens is left out as a whole.
    """
    try:
        tokens = parser.scan(text)
    except (parser.ParseError, ValueError):
        return _UNREAD
    # Tokens are counted in characters, and `end` is the last one of the token.
    pieces, at, before = [], 0, ""
    for token in tokens:
        word = text[token.start : token.end + 1]
        if _is_doubtful(word):
            return _UNREAD
        pieces.append(text[at : token.start])
        if token.name in COMMENTS:
            word = " "
        elif token.name in _LITERALS and before.lower() not in _NUMBERED:
            word = "?"
        pieces.append(word)
        at, before = token.end + 1, word
    pieces.append(text[at:])
    return " ".join("".join(pieces).split())


def shown(text: str) -> str:
    """Shorten a text without literals: lists of parameters to their first, the end where long.

    Args:
        text: From `with_parameters`.
    """
    short = _ROWS.sub(r"\1, ...", _LIST.sub(r"\1, ...", text))
    return short if len(short) <= _LONGEST else f"{short[:_LONGEST]}..."


def first_word(text: str) -> str:
    """Give the first word of a statement, in upper case; '' where it begins with none."""
    found = re.match(r"[\s(]*([A-Za-z]+)", text)
    return found[1].upper() if found else ""


def _is_doubtful(literal: str) -> bool:
    """Say whether a plain string ends behind a backslash.

    With standard_conforming_strings off that hides the quote, and what the scanner takes for
    outside is inside.
    """
    return literal.startswith("'") and literal.endswith("\\'")


def _unread(text: str) -> str:
    return f"{first_word(text)} {_UNREAD}".strip()
