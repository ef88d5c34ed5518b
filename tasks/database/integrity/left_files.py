"""Files in the database's folder that belong to no table or index any more.

A server that ended in the middle of a large write leaves them; they take room and hold nothing.
Source: PostgreSQL manual 73.1 (file layout), 9.28.9 (pg_ls_dir).
"""

import time
from dataclasses import dataclass

from psycopg import sql

from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.guardrails.words import counted
from tasks.platforms.postgresql_errors import NOT_PERMITTED, sqlstate
from tasks.platforms.protocols import Connection

_AGAIN_SECONDS = 1.0
_FUNCTIONS = ("pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)")


@dataclass(frozen=True)
class LeftFile:
    """A file without an owner.

    Args:
        path: Below the data directory.
        size: Bytes.
    """

    path: str
    size: int


def find_left_files(session: Connection) -> tuple[list[LeftFile], RemediationError | None]:
    """Find files of the database, in all its tablespaces, that nothing in it owns.

    Args:
        session: A session in the database.

    Returns:
        Those older than every open transaction, seen twice; and why they cannot be looked for,
        None where they can.
    """
    if prepared := _prepared(session):
        return [], PreconditionFailed(
            expected="no prepared transaction in the database.",
            found=f"{counted(prepared, 'prepared transaction')}, whose new files nobody else sees.",
            todo="End them first; vacuum_database names them with their age.",
        )
    try:
        first = _look(session)
        time.sleep(_AGAIN_SECONDS)
        second = _look(session)
    except PreconditionFailed as error:
        if sqlstate(error) == NOT_PERMITTED:
            user = sql.Identifier(session.info.user).as_string(session)
            error.todo = "As a superuser, in this database:\n" + "\n".join(
                f"GRANT EXECUTE ON FUNCTION {function} TO {user};" for function in _FUNCTIONS
            )
        return [], error
    return [LeftFile(path, size) for path, size in second.items() if path in first], None


def _prepared(session: Connection) -> int:
    row = session.execute(
        "SELECT count(*)::int AS many FROM pg_prepared_xacts WHERE database = current_database()"
    ).fetchone()
    return int(row["many"]) if row else 0


def _look(session: Connection) -> dict[str, int]:
    rows = session.execute(
        r"""WITH own AS (
              SELECT oid::text AS oid FROM pg_database WHERE datname = current_database()
            ), folders AS (
              SELECT 'base/' || own.oid AS path FROM own
              UNION ALL
              SELECT 'pg_tblspc/' || t.oid || '/' || version || '/' || own.oid
              FROM own, pg_tablespace t,
                LATERAL pg_ls_dir('pg_tblspc/' || t.oid, true, false) AS version
              WHERE t.spcname NOT IN ('pg_default', 'pg_global') AND version ^@ ('PG_'
                || current_setting('server_version_num')::int / 10000 || '_')
            ), files AS (
              SELECT path || '/' || name AS path, path || '/' || substring(
                name FROM '^(\d+)(?:_(?:fsm|vm|init))?(?:\.\d+)?$') AS relation
              FROM folders, LATERAL pg_ls_dir(path, true, false) AS name
            ), known AS MATERIALIZED (
              SELECT pg_relation_filepath(oid) AS relation FROM pg_class
            ), old AS (
              SELECT least(min(xact_start), now()) AS since FROM pg_stat_activity
            )
            SELECT f.path, s.size FROM files f, old,
              LATERAL pg_stat_file(f.path, true) AS s
            WHERE f.relation IS NOT NULL AND s.size > 0 AND s.modification < old.since
              AND NOT EXISTS (SELECT FROM known k WHERE k.relation = f.relation)"""
    ).fetchall()
    return {row["path"]: int(row["size"]) for row in rows}
