"""SQL text without the values in it: they may be secrets, and a plan is readable without."""

from pglast.parser import Error, scan

_VALUES = {"SCONST", "USCONST", "ICONST", "FCONST", "BCONST", "XCONST"}
_COMMENTS = {"SQL_COMMENT", "C_COMMENT"}
# EXPLAIN numbers these: '(hashed SubPlan 1)'.
_NUMBERED = {"subplan", "initplan"}
_UNREADABLE = "(text that cannot be read as SQL is not shown)"


def without_literals(text: str) -> str:
    """Give SQL, or a condition of a plan, with `?` for each value and without comments.

    Args:
        text: A statement, or an expression as EXPLAIN writes it.

    Returns:
        The text in one line. Parameters ($1) stay; so does what a name says. Text that cannot
        even be split into tokens is left out as a whole.
    """
    try:
        tokens = scan(text)
    except (Error, ValueError):
        return _UNREADABLE
    # Tokens are counted in characters, and `end` is the last one of the token.
    pieces, at, before = [], 0, ""
    for token in tokens:
        word = text[token.start : token.end + 1]
        pieces.append(text[at : token.start])
        if token.name in _COMMENTS:
            word = " "
        elif token.name in _VALUES and before.lower() not in _NUMBERED:
            word = "?"
        pieces.append(word)
        at, before = token.end + 1, word
    pieces.append(text[at:])
    return " ".join("".join(pieces).split())
