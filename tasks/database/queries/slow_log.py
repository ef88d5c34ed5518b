"""Slow statements by the server's log: what has to be set for it, and what it then says."""

import time
from dataclasses import dataclass

from tasks.database.queries.log_lines import parse, sum_up
from tasks.database.queries.log_place import (
    MOST_BYTES,
    LogPlace,
    find_place,
    free_for_log,
    read_since,
)
from tasks.database.queries.log_setting import (
    SETTING,
    find_missing_rights,
    find_obstacles,
    find_unreadable,
    inspect_log_setting,
)
from tasks.database.queries.query_log import LogSlowStatements, StopLogging
from tasks.database.queries.slow_findings import describe_queries
from tasks.guardrails.errors import BadInput
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database

# Without a look at the disk faster statements are logged for no longer than that.
_FAST_MS, _SHORT_SECONDS = 100, 300
_COLLECTED_SECONDS = 1.0  # a collector or an engine has it a moment later


@dataclass(frozen=True)
class Log:
    """How slow statements come into the log, and where that is.

    Args:
        place: Where it is now; None where it cannot be read.
        findings: What stands in the way, with what to do.
        changes: What has them logged for a while; none where they are logged already.
        measured: Whether it can be measured how much room the server's disk has.
    """

    place: LogPlace | None
    findings: tuple[Finding, ...] = ()
    changes: tuple[LogSlowStatements | StopLogging, ...] = ()
    measured: bool = False


@probe
def find_log(target: str, watch_seconds: int, slower_than_ms: int) -> Log:
    """Find the log, and what has to be set so that slow statements are in it.

    Args:
        target: Name of the target.
        watch_seconds: How long they are logged.
        slower_than_ms: What counts as slow, in milliseconds.

    Raises:
        BadInput: They are not logged yet, and no time is given for which they shall be; or so
            much might be logged that it fills a disk which cannot be measured.
    """
    database = targets.load(target).database
    with database.connect() as session:
        place, why = find_place(database, session)
        if place is None:
            return Log(None, (_unreadable(why),))
        if reasons := find_unreadable(session):
            return Log(None, (_without_texts(reasons),))
        row = session.execute(
            "SELECT setting::float AS in_force FROM pg_settings WHERE name = %s", (SETTING,)
        ).fetchone()
        if row and 0 <= row["in_force"] <= slower_than_ms:
            return Log(place)
        if missing := find_missing_rights(session):
            return Log(None, (_not_allowed(missing, database.name),))
        if obstacles := find_obstacles(session):
            return Log(None, (_not_possible(obstacles),))
        before = inspect_log_setting(session).written
        if not watch_seconds:
            raise BadInput(
                expected="watch_seconds above 0: slow statements are not logged now.",
                found=f"watch_seconds=0, {SETTING}={row['in_force'] if row else '?'}.",
                todo="Say for how long they shall be logged, as watch_seconds=60.",
            )
        measured = None not in free_for_log(database, place)
        if not measured:
            _insist_on_little(watch_seconds, slower_than_ms)
        return Log(
            place,
            _not_reached(session, database),
            (
                LogSlowStatements(slower_than_ms=slower_than_ms, before=before, place=place),
                StopLogging(
                    slower_than_ms=slower_than_ms, before=before, seconds=watch_seconds, place=place
                ),
            ),
            measured,
        )


def _insist_on_little(watch_seconds: int, slower_than_ms: int) -> None:
    """Refuse to log fast statements for long where nobody sees that the disk fills up."""
    if slower_than_ms < _FAST_MS and watch_seconds > _SHORT_SECONDS:
        raise BadInput(
            expected=f"slower_than_ms of {_FAST_MS} or more, or watch_seconds of {_SHORT_SECONDS} "
            "or less: the room on the server's disk cannot be measured from here.",
            found=f"slower_than_ms={slower_than_ms}, watch_seconds={watch_seconds}.",
            todo="Log less, or for a shorter time. Where the server runs on this machine, its data "
            "directory can be named in the target: then it is measured.",
        )


def _unreadable(why: str) -> Finding:
    return Finding(
        what="The server's log cannot be read from here.",
        how="pg_current_logfile, logging_collector, the target",
        patch=f"{why[0].upper()}{why[1:]}.",
    )


def _without_texts(reasons: list[str]) -> Finding:
    return Finding(
        what=f"Slow statements cannot be read from the server's log: {'; '.join(reasons)}.",
        how="log_statement, log_min_messages, lc_messages",
        patch="Change that first, as a superuser by ALTER SYSTEM and SELECT pg_reload_conf(), "
        "then run again.",
    )


def _not_allowed(missing: list[str], name: str) -> Finding:
    return Finding(
        what="The maintenance user may not have slow statements logged.",
        how="has_parameter_privilege, has_function_privilege",
        patch="\n".join(f"{one}; -- as a superuser, in {name}" for one in missing),
    )


def _not_possible(obstacles: list[str]) -> Finding:
    return Finding(
        what=f"Slow statements cannot be logged by a reload: {'; '.join(obstacles)}.",
        how="pg_file_settings, pg_settings",
        patch="Correct that first, then run again.",
    )


def _not_reached(session: Connection, database: Database) -> tuple[Finding, ...]:
    """Name those for whom a value of their own goes before the server's."""
    rows = session.execute(
        """SELECT coalesce('role ' || r.rolname, 'every role') AS who, c AS setting
           FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole,
             unnest(s.setconfig) c
           WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = %s))
             AND lower(split_part(c, '=', 1)) = ANY (%s) ORDER BY 1, 2""",
        (database.name, [SETTING, "log_statement"]),
    ).fetchall()
    return tuple(
        Finding(
            what=f"For {row['who']} {row['setting']} goes before what the server is told.",
            how="pg_db_role_setting",
        )
        for row in rows
    )


@probe
def measure_log(
    target: str, place: LogPlace, slower_than_ms: int, watch_seconds: int = 0
) -> tuple[Finding, ...]:
    """Read which slow statements came into the log since a place, and find out why they are.

    Args:
        target: Name of the target.
        place: From where on.
        slower_than_ms: What counts as slow, in milliseconds.
        watch_seconds: Seconds to wait before, for more to come.
    """
    database = targets.load(target).database
    time.sleep(watch_seconds + (0 if place.by == "file" else _COLLECTED_SECONDS))
    logged = list(parse(text := read_since(database, place), place.form, place.prefix))
    slow = [one for one in logged if one.milliseconds >= slower_than_ms]
    with database.connect() as session:
        user = database.environment()["PGUSER"]
        queries = sum_up(slow, database.name, user)
        return (
            *describe_queries(
                session,
                queries,
                f"Of what took longer than {slower_than_ms:,} ms the log has",
                f"{place.path}, {counted(len(text), 'character')} of it",
            ),
            *_cut_off(text),
        )


def _cut_off(text: str) -> tuple[Finding, ...]:
    if len(text.encode()) < MOST_BYTES:
        return ()
    return (
        Finding(
            what=f"So much was logged that only {MOST_BYTES / 1e6:.0f} MB were read.",
            how="the log",
            patch="Run again with a shorter watch_seconds, or a higher slower_than_ms.",
        ),
    )
