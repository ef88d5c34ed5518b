"""The pieces of a dump's SQL, and what ends a statement for psql."""

import re
from dataclasses import dataclass, field

_FUNCTION_START = re.compile(r"c(or)?[fp]")
_FUNCTION_WORDS = {"CREATE", "OR", "REPLACE", "FUNCTION", "PROCEDURE"}
_STARTING_WORDS = 4  # as many as psql remembers


@dataclass
class Statement:
    """A statement with the place where it begins.

    Args:
        line: Its first line, from 1.
        tokens: Words in upper case, quoted names as written, strings with their quotes.
        doubt: Why it could be read in two ways, '' where it could not.
    """

    line: int
    tokens: list[str] = field(default_factory=list)
    doubt: str = ""


@dataclass(frozen=True)
class Comment:
    """A comment that begins with two dashes."""

    text: str


@dataclass(frozen=True)
class Command:
    """A backslash command of psql."""

    line: int
    text: str


@dataclass(frozen=True)
class CopyData:
    """How many rows followed a COPY, whether their end was there, and how they begin."""

    rows: int
    ended: bool
    first: str = ""


Piece = Statement | Comment | Command | CopyData


class Ends:
    """Follows psql in what ends a statement: not a semicolon in parentheses or in BEGIN ... END."""

    def __init__(self) -> None:
        """Begin a statement."""
        self.previous = ""
        self._parens = self._begins = self._identifiers = 0
        self._start = ""

    def see(self, kind: str, text: str) -> bool:
        """Take the next token; says whether the statement ends with it."""
        self.previous = kind
        if kind == "word":
            self._see_word(text)
        elif text == "(":
            self._parens += 1
        elif text == ")":
            self._parens = max(0, self._parens - 1)
        return text == ";" and self._parens == 0 and self._begins == 0

    def _see_word(self, text: str) -> None:
        if self._identifiers < _STARTING_WORDS:
            self._start += text[0].lower() if text in _FUNCTION_WORDS else "-"
        self._identifiers += 1
        if self._parens == 0 and _FUNCTION_START.match(self._start):
            if text == "BEGIN" or (text == "CASE" and self._begins > 0):
                self._begins += 1
            elif text == "END" and self._begins > 0:
                self._begins -= 1
