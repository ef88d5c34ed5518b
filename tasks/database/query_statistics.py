"""The queries of a database that took the most time, as pg_stat_statements has them."""

from dataclasses import dataclass

from pglast.parser import ParseError, normalize, scan
from psycopg import sql

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Connection

_EXTENSION = "pg_stat_statements"
_MOST = 100
_LONGEST = 10_000  # characters of a query
_TOPLEVEL_SINCE = 140000
_TEXTS = {"SCONST", "USCONST", "BCONST", "XCONST"}
_COMMENTS = {"SQL_COMMENT", "C_COMMENT"}


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
    row = session.execute(
        """SELECT n.nspname AS schema, current_user AS "user",
             pg_has_role('pg_read_all_stats', 'USAGE') AS all
           FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
           WHERE e.extname = %s""",
        (_EXTENSION,),
    ).fetchone()
    if row is None:
        return Statements(
            (),
            "The queries that took the most time are not known: pg_stat_statements is not "
            "installed in the database. Candidates come from foreign keys only.",
            "As a superuser: put pg_stat_statements into shared_preload_libraries, restart the "
            "server, and CREATE EXTENSION pg_stat_statements in the database.",
        )
    try:
        found = _read(session, row["schema"])
    except PreconditionFailed as error:
        return Statements(
            (),
            f"The queries that took the most time are not known: {error.found} Candidates come "
            "from foreign keys only.",
            error.todo,
        )
    if row["all"]:
        return Statements(found)
    return Statements(
        found,
        "The queries of other users are hidden from the maintenance user.",
        f'As a superuser: GRANT pg_read_all_stats TO "{row["user"]}"',
    )


def _read(session: Connection, schema: str) -> tuple[Statement, ...]:
    top = "s.toplevel" if session.info.server_version >= _TOPLEVEL_SINCE else "true"
    rows = session.execute(
        sql.SQL(
            """SELECT s.query, sum(s.calls)::bigint AS calls, sum(s.total_exec_time) AS spent
               FROM {view} s
               WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND {top} AND s.query ~* '^[[:space:](]*(select|with)[[:space:](]'
                 AND length(s.query) <= {longest}
               GROUP BY s.query ORDER BY 3 DESC LIMIT {most}"""
        ).format(
            view=sql.Identifier(schema, _EXTENSION),
            top=sql.SQL(top),
            longest=_LONGEST,
            most=_MOST,
        )
    ).fetchall()
    return tuple(
        Statement(query, int(row["calls"]), float(row["spent"]))
        for row in rows
        if (query := parameterised(row["query"]))
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
        if token.name in _COMMENTS:
            text = f"{text[: token.start]} {text[token.end + 1 :]}"
    return "" if any(token.name in _TEXTS for token in tokens) else text.strip()
