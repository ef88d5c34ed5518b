"""What the server says of a statement that it cannot plan, without the statement's values.

An error may quote the statement (LINE 1: ...), and a message may quote a value of it.
Source: PostgreSQL manual, appendix A (error codes); libpq, PQresultErrorField.
"""

import re

import psycopg
from pglast import parser
from psycopg import errors

_SYNTAX, _BAD_VALUE, _RAISED = "42601", "22", "P0"
_TEXTS = {"SCONST", "USCONST", "BCONST", "XCONST"}
# Quotation marks in the languages that the server speaks.
_OPENS = "\"'\u00ab\u00bb\u201e\u201c\u201d\u201a\u2018\u2019\u300c\u300e"
_CLOSES = "\"'\u00ab\u00bb\u201c\u201d\u2018\u2019\u300d\u300f"
# All from the first quotation mark to the last one.
_QUOTED = re.compile(f"[{_OPENS}].*[{_CLOSES}]", re.DOTALL)
_NAMED = re.compile(f"[{_OPENS}]([^{_OPENS}{_CLOSES}]*)[{_CLOSES}]")
_HIDDEN = '"?"'
_LONG = 3  # a shorter value is part of many a name


def say_without_values(error: BaseException, statement: str, before: int = 0) -> str:
    """Give the server's message about a statement without what is quoted from its values.

    Args:
        error: One of ours that the server's is the cause of, or the server's.
        statement: The statement.
        before: Characters that were sent before it.

    Returns:
        The message; '' where the server has said nothing.
    """
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error) or not cause.diag.message_primary:
        return ""
    code, said = cause.sqlstate or "", cause.diag.message_primary
    if code.startswith(_RAISED):  # its text is whatever a function makes of its arguments
        return f"a function that the planner calls has failed ({_name(code)})"
    values = _values(statement)
    if values is None:
        said = _name(code)
    elif code.startswith(_BAD_VALUE) or code == _SYNTAX:
        said = _QUOTED.sub(_HIDDEN, said)
    else:
        said = _NAMED.sub(lambda found: _HIDDEN if _is_of(found[1], values) else found[0], said)
    at = int(cause.diag.statement_position or 0) - before
    return f"{said} (at its character {at})" if code == _SYNTAX and at > 0 else said


def _is_of(quoted: str, values: set[str]) -> bool:
    """Say whether something quoted is part of a value, or has one in it."""
    small = quoted.lower()
    return any(small in value or (len(value) >= _LONG and value in small) for value in values)


def _values(statement: str) -> set[str] | None:
    """Give the texts in a statement in lower case; None where they cannot be read for certain."""
    try:
        tokens = parser.scan(statement)
    except (parser.ParseError, ValueError):
        return None
    found = set()
    for token in tokens:
        if token.name not in _TEXTS:
            continue
        text = statement[token.start : token.end + 1]
        if "\\" in text or token.name == "USCONST":  # the value is another than its text
            return None
        # Between its quotes, or what stands for them: 'a', $$a$$, $tag$a$tag$, B'1'.
        mark = re.match(r"\$[^$]*\$|[^']*'", text)
        start = len(mark[0]) if mark else 0
        end = len(text) - (start if text.startswith("$") else 1)
        found.add(text[start:end].replace("''", "'").lower())
    return found - {""}


def _name(code: str) -> str:
    """Give the name of a code in words, as 'syntax error'."""
    try:
        name = errors.lookup(code).__name__
    except KeyError:
        return f"SQLSTATE {code}"
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
