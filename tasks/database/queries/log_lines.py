"""Statements with their durations from a server's log, in each of the forms that it writes.

Source: PostgreSQL manual 20.8.3 (what to log), 20.8.4 (CSV), 20.8.5 (JSON); elog.c.
"""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tasks.database.queries.log_place import Form
from tasks.database.queries.measured import Query
from tasks.database.queries.normal_text import shown, with_parameters

# A code stands before it where log_error_verbosity is verbose.
# Time for which a prepared statement is parsed and bound is logged by itself, and is not this.
_DURATION = re.compile(
    r"(?:00000: )?duration: (\d+(?:\.\d+)?) ms  (?:statement|execute [^:]*): (.*)", re.DOTALL
)
_ESCAPE = re.compile(r"%(-?\d*)([A-Za-z%])")
# Bounded: what a prefix has is short, and one that begins nowhere is not sought without end.
_ANY = r"[^\t\n]{0,200}?"
_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \S+"
_ESCAPES = {
    "%": "%",
    "a": rf"(?P<application>{_ANY})",
    "d": rf"(?P<database>{_ANY})",
    "u": rf"(?P<role>{_ANY})",
    "m": _TIME,
    "t": _TIME,
    "s": _TIME,
    "n": r"\d+\.\d+",
    "p": r"\d+",
    "l": r"\d+",
}
_USER, _DATABASE, _LEVEL, _MESSAGE, _APPLICATION = 1, 2, 11, 13, 22  # columns of the CSV form
_LONGEST_FIELD = 64_000_000


@dataclass(frozen=True)
class Logged:
    """A statement that was logged; its text holds literals and is never shown.

    Args:
        text: The statement.
        milliseconds: What it took.
        database: In which database; None where the log does not say.
        role: Who ran it; None where the log does not say.
        application: By which application_name; None where the log does not say.
    """

    text: str
    milliseconds: float
    database: str | None = None
    role: str | None = None
    application: str | None = None


def parse(text: str, form: Form, prefix: str) -> Iterator[Logged]:
    """Find the statements with durations in a piece of a log.

    Args:
        text: The piece; may begin in the middle of an entry.
        form: How it is written.
        prefix: log_line_prefix, by which entries of the form stderr begin.

    Returns:
        The statements in order. Parameters, which stand in entries of their own (DETAIL), and
        entries that are cut off are left out.
    """
    if form == "csvlog":
        return _parse_csv(text)
    return _parse_json(text) if form == "jsonlog" else _parse_stderr(text, prefix)


def _parse_stderr(text: str, prefix: str) -> Iterator[Logged]:
    begins = re.compile(f"{_pattern(prefix)}(?P<level>[A-Z]+[1-5]?):  (?P<message>.*)")
    entry: re.Match[str] | None = None
    lines: list[str] = []
    may_shift = not prefix.startswith("\t")
    for line in text.split("\n"):
        # The server shifts what goes on: it begins no entry, whatever a literal in it looks like.
        if may_shift and line.startswith("\t"):
            lines.append(line[1:])
            continue
        found = begins.match(line)
        yield from _of_entry(entry, lines)
        entry, lines = found, []
    yield from _of_entry(entry, lines)


def _of_entry(entry: re.Match[str] | None, lines: list[str]) -> Iterator[Logged]:
    if entry is None or entry["level"] != "LOG":
        return
    said = entry.groupdict()
    message = "\n".join([entry["message"], *lines])
    yield from _of_message(message, said.get("database"), said.get("role"), said.get("application"))


def _of_message(
    message: str, database: str | None, role: str | None, application: str | None
) -> Iterator[Logged]:
    if found := _DURATION.fullmatch(message):
        yield Logged(found[2], float(found[1]), database, role, application)


def _pattern(prefix: str) -> str:
    """Write log_line_prefix as a pattern; behind %q comes what only sessions have."""
    pieces, at, named, optional = [], 0, set[str](), 0
    for escape in _ESCAPE.finditer(prefix):
        pieces.append(re.escape(prefix[at : escape.start()]))
        at, letter = escape.end(), escape[2]
        if letter == "q":
            pieces.append("(?:")
            optional += 1
            continue
        piece = _ESCAPES.get(letter, _ANY)
        if letter in named:  # a group has a name once
            piece = _ANY
        named.add(letter)
        pieces.append(rf" *{piece} *" if escape[1] else piece)
    pieces.append(re.escape(prefix[at:]))
    return "".join(pieces) + ")?" * optional


def _parse_csv(text: str) -> Iterator[Logged]:
    csv.field_size_limit(_LONGEST_FIELD)
    for row in csv.reader(io.StringIO(text, newline="")):
        if len(row) > _APPLICATION and row[_LEVEL] == "LOG":
            yield from _of_message(row[_MESSAGE], row[_DATABASE], row[_USER], row[_APPLICATION])


def _parse_json(text: str) -> Iterator[Logged]:
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
        except ValueError:  # the piece begins or ends in the middle of it
            continue
        if isinstance(entry, dict) and entry.get("error_severity") == "LOG":
            who = (entry.get(name, "") for name in ("dbname", "user", "application_name"))
            yield from _of_message(str(entry.get("message", "")), *who)


def sum_up(logged: Iterable[Logged], database: str, user: str) -> list[Query]:
    """Sum up what was logged by statement, the one that took the most time first.

    Args:
        logged: From `parse`.
        database: Name of the database; what another one ran is left out.
        user: The maintenance user: what remediations ran is left out.

    Returns:
        The statements without literals.
    """
    found: dict[str, list[Logged]] = defaultdict(list)
    whole: dict[str, str] = {}
    for one in logged:
        ours = (
            one.role == user if one.application is None else one.application.startswith("remedy:")
        )
        if ours or one.database not in {None, database}:
            continue
        text = with_parameters(one.text)
        whole.setdefault(shown(text), text)
        found[shown(text)].append(one)
    queries = [
        Query(
            text=whole[short],
            role=max(runs, key=lambda run: run.milliseconds).role or "somebody",
            calls=len(runs),
            seconds=sum(run.milliseconds for run in runs) / 1000,
            slowest=max(run.milliseconds for run in runs),
        )
        for short, runs in found.items()
    ]
    return sorted(queries, key=lambda one: one.seconds, reverse=True)
