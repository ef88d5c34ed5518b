"""What pg_stat_statements says of slow queries, since it counts or in a window; and without it."""

import time

from psycopg import sql

from tasks.database.queries.measured import Counted, Query, queries_of
from tasks.database.queries.slow_findings import describe_queries
from tasks.database.queries.statements import (
    EXTENSION,
    Statistics,
    count_statements,
    inspect_statistics,
)
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

_HOW = f"{EXTENSION}"


@probe
def inspect_counting(target: str) -> Statistics:
    """Find out whether pg_stat_statements can be asked in a target's database.

    Args:
        target: Name of the target.
    """
    with targets.load(target).database.connect() as session:
        return inspect_statistics(session)


@probe
def measure_queries(target: str, watch_seconds: int) -> tuple[Finding, ...]:
    """Measure which queries take the most time, and find out why.

    Args:
        target: Name of the target.
        watch_seconds: Length of the window that is measured, in seconds; 0 for everything since
            it counts.

    Returns:
        Findings: the ranking, then each query of it.

    Raises:
        PreconditionFailed: pg_stat_statements cannot be asked.
    """
    database = targets.load(target).database
    before: Counted | None = None
    if watch_seconds:
        with database.connect() as session:
            before = count_statements(session, _insist(session))
        time.sleep(watch_seconds)
    with database.connect() as session:
        statistics = _insist(session)
        now = count_statements(session, statistics)
        queries = queries_of(now, before, but=(statistics.user,))
        seen = [one for one in queries if not one.is_hidden]
        said = f"In {counted(watch_seconds, 'second')}" if before else f"Since {_since(now)}"
        return (
            *describe_queries(session, seen, said, _HOW),
            *_hidden(queries, statistics),
            *_evicted(now, before),
        )


def _insist(session: Connection) -> Statistics:
    statistics = inspect_statistics(session)
    if not statistics.usable:
        raise PreconditionFailed(
            expected=f"{EXTENSION} to be asked.",
            found="it cannot be any more.",
            todo="Run it again: it says what is missing.",
        )
    return statistics


def _since(now: Counted) -> str:
    return now.since or "a time that this version does not tell"


def _hidden(queries: list[Query], statistics: Statistics) -> tuple[Finding, ...]:
    hidden = [one for one in queries if one.is_hidden]
    if not hidden and statistics.sees_all:
        return ()
    seconds = sum(one.seconds for one in hidden)
    return (
        Finding(
            what=f"{statistics.user} sees its own statements only; others took {seconds:,.1f} s.",
            how=f"<insufficient privilege> in {EXTENSION}",
            patch=f"As a superuser: GRANT pg_read_all_stats TO {_quoted(statistics.user)}",
        ),
    )


def _evicted(now: Counted, before: Counted | None) -> tuple[Finding, ...]:
    times = now.evicted - (before.evicted if before and before.evicted <= now.evicted else 0)
    if not times:
        return ()
    return (
        Finding(
            what=f"The least used statements were thrown out {counted(times, 'time')} to make room "
            "for others: what they took is missing above.",
            how=f"{EXTENSION}_info.dealloc",
            patch="In postgresql.conf: pg_stat_statements.max = 10000 (default 5000), which needs "
            "a restart.",
        ),
    )


def describe_missing(statistics: Statistics, database: str) -> tuple[Finding, ...]:
    """Say what is missing where pg_stat_statements cannot be asked, and who has to do what.

    Args:
        statistics: From `inspect_counting`.
        database: Name of the database.
    """
    if statistics.usable:
        return ()
    missing, steps = [], []
    by = f"-- as a superuser, in {database}"
    if not statistics.available:
        missing.append("the server has not its files")
        steps.append("Install PostgreSQL's contrib modules on the server's host.")
    if not statistics.preloaded:
        missing.append("the server was started without it")
        steps.append(
            f"shared_preload_libraries = '{EXTENSION}'  # in postgresql.conf, behind what is "
            "there; then restart the server"
        )
    if not statistics.schema_name:
        missing.append(f"it is not installed in {database}")
        if not (statistics.may_create and statistics.preloaded):
            steps.append(f"CREATE EXTENSION {EXTENSION}; {by}")
    elif not statistics.may_read:
        missing.append(f"{statistics.user} may not read it")
        schema, user = _quoted(statistics.schema_name), _quoted(statistics.user)
        steps.append(f"GRANT USAGE ON SCHEMA {schema} TO {user}; {by}")
        steps.append(f"GRANT SELECT ON {schema}.{EXTENSION} TO {user}; {by}")
    return (
        Finding(
            what=f"{EXTENSION} cannot be asked: {'; '.join(missing)}.",
            how="pg_settings, pg_available_extensions, pg_extension",
            patch="\n".join(steps),
        ),
    )


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()
