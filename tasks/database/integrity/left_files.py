"""Files in the database's folder that belong to no table or index any more.

A server that ended in the middle of a large write leaves them; they take room and hold nothing.
Source: PostgreSQL manual 73.1 (file layout), 9.28.9 (pg_ls_dir).
"""

import time
from dataclasses import dataclass

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Connection

_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class LeftFile:
    """A file without an owner.

    Args:
        path: Below the data directory.
        size: Bytes.
    """

    path: str
    size: int


def find_left_files(session: Connection) -> list[LeftFile] | None:
    """Find files of the database, in its default tablespace, that nothing in it owns.

    Args:
        session: A session in the database.

    Returns:
        Those older than every open transaction, seen twice; None where the maintenance user may
        not list the server's files.
    """
    try:
        first = _look(session)
        time.sleep(_AGAIN_SECONDS)
        second = _look(session)
    except PreconditionFailed:
        return None
    return [LeftFile(path, size) for path, size in second.items() if path in first]


def _look(session: Connection) -> dict[str, int]:
    rows = session.execute(
        r"""WITH folder AS (
              SELECT 'base/' || oid AS path FROM pg_database WHERE datname = current_database()
            ), files AS (
              SELECT path || '/' || name AS path,
                substring(name FROM '^(\d+)(?:_(?:fsm|vm|init))?(?:\.\d+)?$') AS number
              FROM folder, pg_ls_dir((SELECT path FROM folder)) AS name
            ), known AS MATERIALIZED (
              SELECT pg_relation_filenode(oid) AS number FROM pg_class
            ), old AS (
              SELECT least(min(xact_start), now()) AS since FROM pg_stat_activity
            )
            SELECT f.path, s.size FROM files f, old,
              LATERAL pg_stat_file(f.path, true) AS s
            WHERE f.number IS NOT NULL AND s.size > 0 AND s.modification < old.since
              AND NOT EXISTS (SELECT FROM pg_prepared_xacts)
              AND NOT EXISTS (SELECT FROM known k WHERE k.number = f.number::oid)"""
    ).fetchall()
    return {row["path"]: int(row["size"]) for row in rows}
