"""The queries of a database that took the most time, as pg_stat_statements has them."""

import itertools
from dataclasses import dataclass

from pglast.parser import ParseError, normalize, scan

from tasks.database.queries.measured import Counted
from tasks.database.queries.normal_text import COMMENTS, first_word
from tasks.database.queries.statements import count_statements, inspect_statistics
from tasks.platforms.protocols import Connection

_READS = {"SELECT", "WITH"}
_MOST = 100
_LONGEST = 10_000  # characters of a query
_TEXTS = {"SCONST", "USCONST", "BCONST", "XCONST"}


@dataclass(frozen=True)
class Statement:
    """A query without values.

    Args:
        query: Its text, with $1, $2, ... for its values.
        calls: How often it was run.
        milliseconds: How long all its runs took.
    """

    query: str
    calls: int
    milliseconds: float


@dataclass(frozen=True)
class Statements:
    """What is known of the queries.

    Args:
        known: Those that took the most time, the slowest first.
        unknown: Why they are not all known, and what would help; '' where they are.
        patch: What to run so that they are known.
    """

    known: tuple[Statement, ...]
    unknown: str = ""
    patch: str = ""


def list_statements(session: Connection) -> Statements:
    """List the SELECTs of the database that took the most time, whoever sent them.

    Args:
        session: A session in the database.
    """
    statistics = inspect_statistics(session)
    if not statistics.usable:
        what = "not installed in the database" if statistics.preloaded else "not preloaded"
        closed = statistics.preloaded and statistics.schema_name
        return Statements(
            (),
            "The queries that took the most time are not known: pg_stat_statements is "
            f"{'closed to the maintenance user' if closed else what}. Candidates come from "
            "foreign keys only.",
            "find_slow_queries says what to run, and installs it where it may.",
        )
    found = _sums(count_statements(session, statistics))
    if statistics.sees_all:
        return Statements(found)
    return Statements(
        found,
        "The queries of other users are hidden from the maintenance user.",
        f'As a superuser: GRANT pg_read_all_stats TO "{statistics.user}"',
    )


def _sums(counted: Counted) -> tuple[Statement, ...]:
    """Sum up by text, whoever sent it; give the slowest that can be planned."""
    sums: dict[str, tuple[int, float]] = {}
    for key, (milliseconds, calls, *_) in counted.counts.items():
        text = counted.texts[key]
        if len(text) <= _LONGEST:
            before = sums.get(text, (0, 0.0))
            sums[text] = (before[0] + int(calls), before[1] + milliseconds)
    slowest = sorted(sums, key=lambda text: sums[text][1], reverse=True)
    return tuple(
        itertools.islice(
            (
                Statement(query, *sums[text])
                for text in slowest
                # Without comments: many an application begins its queries with one.
                if first_word(query := parameterised(text)) in _READS
            ),
            _MOST,
        )
    )


def parameterised(query: str) -> str:
    """Give a query with a parameter for each value, and without comments.

    The server keeps the text as it was sent where it had forgotten the query meanwhile, and
    comments always.

    Args:
        query: A statement, as pg_stat_statements has it.

    Returns:
        The statement; '' where a text in it would still be shown, or it cannot be read.
    """
    try:
        text: str = normalize(query)
        tokens = scan(text)
    except (ParseError, ValueError):
        return ""
    for token in reversed(tokens):
        if token.name in COMMENTS:
            text = f"{text[: token.start]} {text[token.end + 1 :]}"
    return "" if any(token.name in _TEXTS for token in tokens) else text.strip()
