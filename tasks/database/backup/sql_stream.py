"""Plain SQL as psql reads it: statements, and the data of COPY between them.

What psql would take for a command of its own (a backslash outside quotes) or for the end of
a statement decides what is executed where, so this follows psql's own lexer (psqlscan.l) and
refuses what could be read in two ways. Source: PostgreSQL 15, src/fe_utils/psqlscan.l.
"""

import re
from collections.abc import Iterator
from typing import IO

from tasks.database.backup.sql_pieces import Command, Comment, CopyData, Ends, Piece, Statement

_CHUNK = 1 << 20
_KEPT_TOKENS = 4000
_FIRST_BYTES = 400
_TOKEN = re.compile(
    rb"""(?P<space>\s+)
    |(?P<comment>--[^\n]*)
    |(?P<block>/\*)
    |(?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
    |(?P<string>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)
    |(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)
    |(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)
    |(?P<backslash>\\[^\n]*)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_BLOCK_PART = re.compile(rb"/\*|\*/")
_KEPT_BYTES = 400


class SqlStream:
    """Reads plain SQL piece by piece, holding no more than a statement of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Keep the stream; reads nothing yet."""
        self._stream = stream
        self._buffer = b""
        self._at = self._began = 0
        self._line = 1
        self._finished = False
        self.bytes_read = 0

    def pieces(self) -> Iterator[Piece]:
        """Read on to the end.

        Yields:
            Statements, comments, commands of psql, and what COPY was given.
        """
        statement, ends = Statement(line=1), Ends()
        while (token := self._next()) is not None:
            kind, text = token
            if kind in {"space", "block"}:
                continue
            if kind == "comment":
                yield Comment(text)
                continue
            if not statement.tokens:
                statement.line = self._line
            if kind == "backslash":
                yield Command(self._line, text)
                continue
            statement.doubt = statement.doubt or self._doubt(kind, ends.previous)
            if ends.see(kind, text):
                yield from self._ended(statement)
                statement, ends = Statement(line=self._line), Ends()
            elif len(statement.tokens) < _KEPT_TOKENS:
                statement.tokens.append(text)
        if statement.tokens:
            statement.doubt = statement.doubt or "it has no end"
            yield statement

    def _ended(self, statement: Statement) -> Iterator[Piece]:
        if not statement.tokens:
            return
        if not _takes_data(statement.tokens):
            yield statement
            return
        if not self._rest_of_line_is_blank():
            statement.doubt = "something follows a COPY on its line"
        yield statement
        yield self._skip_data()

    def _doubt(self, kind: str, previous: str) -> str:
        if kind == "unfinished":
            return "it ends within quotes"
        if kind == "string" and previous == "escaped":
            return "a string is continued after E'...'"
        if kind in {"word", "escaped"} and previous == "number" and self._glued():
            return "a number is glued to a word"
        return ""

    def _glued(self) -> bool:
        start = self._began
        return start > 0 and self._buffer[start - 1 : start].isdigit()

    def _more(self) -> bool:
        if self._finished:
            return False
        chunk = self._stream.read(max(_CHUNK, len(self._buffer) - self._at))
        if not chunk:
            self._finished = True
            return False
        self.bytes_read += len(chunk)
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return True

    def _next(self) -> tuple[str, str] | None:
        while True:
            match = _TOKEN.match(self._buffer, self._at)
            # A token that touches the end of what was read may go on behind it.
            near_end = match is None or match.end() >= len(self._buffer) - 2
            if near_end and self._more():
                continue
            if match is None:
                return None
            kind, end = self._whole(match)
            if end < 0 and self._more():
                continue
            if end < 0:
                kind, end = "unfinished", len(self._buffer)
            raw = self._buffer[self._at : end]
            self._line += raw.count(b"\n")
            self._began, self._at = self._at, end
            text = raw[:_KEPT_BYTES].decode(errors="surrogateescape")
            return kind, text.upper() if kind == "word" else text

    def _whole(self, match: re.Match[bytes]) -> tuple[str, int]:
        """Give a token's kind and where it ends; -1 where its end was not read yet."""
        kind = str(match.lastgroup)
        if kind == "dollar":
            return kind, self._end_of_dollar(match.group())
        if kind == "block":
            return kind, self._end_of_block()
        if kind == "other" and match.group() in b"'\"":
            return kind, -1
        return kind, match.end()

    def _end_of_dollar(self, tag: bytes) -> int:
        found = self._buffer.find(tag, self._at + len(tag))
        return -1 if found < 0 else found + len(tag)

    def _end_of_block(self) -> int:
        depth, at = 0, self._at
        while part := _BLOCK_PART.search(self._buffer, at):
            depth += 1 if part.group() == b"/*" else -1
            at = part.end()
            if depth == 0:
                return at
        return -1

    def _rest_of_line_is_blank(self) -> bool:
        while (end := self._buffer.find(b"\n", self._at)) < 0:
            if not self._more():
                end = len(self._buffer)
                break
        rest = self._buffer[self._at : end]
        self._at = min(end + 1, len(self._buffer))
        self._line += 1
        return not rest.strip()

    def _skip_data(self) -> CopyData:
        rows = 0
        fresh = True  # at the start of a line
        if len(self._buffer) - self._at < _FIRST_BYTES:
            self._more()
        first = (
            self._buffer[self._at : self._at + _FIRST_BYTES]
            .split(b"\\.", 1)[0]
            .decode(errors="replace")
        )
        while True:
            if fresh and self._buffer.startswith((b"\\.\n", b"\\.\r\n"), self._at):
                return self._end_data(self._at, rows, first)
            found = self._buffer.find(b"\n\\.", self._at)
            if found >= 0 and found + 5 > len(self._buffer) and self._more():
                continue
            if found >= 0 and self._buffer.startswith((b"\n", b"\r\n"), found + 3):
                return self._end_data(found + 1, rows + self._rows_until(found + 1), first)
            if found >= 0:  # a value that begins with \. goes on: a line like any other
                rows += self._rows_until(found + 1)
                self._at, fresh = found + 1, False
                continue
            kept = max(self._at, len(self._buffer) - 4)
            rows += self._rows_until(kept)
            fresh = fresh and kept == self._at
            self._at = kept
            if not self._more():
                return CopyData(rows, ended=False)

    def _rows_until(self, end: int) -> int:
        lines = self._buffer.count(b"\n", self._at, end)
        self._line += lines
        return lines

    def _end_data(self, at: int, rows: int, first: str) -> CopyData:
        self._at = self._buffer.index(b"\n", at) + 1
        self._line += 1
        return CopyData(rows, ended=True, first=first)


def _takes_data(tokens: list[str]) -> bool:
    return tokens[:1] == ["COPY"] and tokens[-2:] == ["FROM", "STDIN"]
