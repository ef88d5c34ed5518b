"""Names and comments by which the databases that a remediation makes are found again."""

import re
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from tasks.platforms.protocols import Connection

_LONGEST = 63  # bytes of a name, PostgreSQL's NAMEDATALEN - 1
_COMMENT = re.compile(r"remedy (?P<remediation>\S+) (?P<state>[a-z]+): ")


@dataclass(frozen=True)
class Mark:
    """What a comment of ours says: whose the database is, and how far its making came.

    Args:
        remediation: Id of the remediation.
        state: 'created', 'loaded', 'migrated', 'kept', 'undone'.
    """

    remediation: str
    state: str


def name_beside(live: str, purpose: str, remediation: str) -> str:
    """Name a database beside the live one.

    Args:
        live: Name of the live database; shortened where the whole would be too long.
        purpose: 'restore', 'before_20261124', 'undone', 'verify'.
        remediation: Id of the remediation.

    Returns:
        A name of at most 63 bytes that ends with purpose and id.
    """
    end = f"_{purpose}_{remediation}"
    start = live.encode()[: _LONGEST - len(end.encode())].decode(errors="ignore")
    return start + end


def write_mark(session: Connection, database: str, mark: Mark, text: str) -> None:
    """Write whose a database is into its comment.

    Args:
        session: A session in any database of the server.
        database: Name of the database.
        mark: Whose, and the state.
        text: What a person should know who meets it.
    """
    session.execute(comment_on(database, mark_text(mark, text)))


def mark_text(mark: Mark, text: str) -> str:
    """Write a mark and a text as a comment that `read_mark` reads."""
    return f"remedy {mark.remediation} {mark.state}: {text}"


def comment_on(database: str, comment: str) -> sql.Composed:
    """Make the statement that sets a database's comment; '' removes it."""
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(
        sql.Identifier(database), sql.Literal(comment or None)
    )


def read_mark(comment: str | None) -> Mark | None:
    """Read a comment; None where it is not ours."""
    found = _COMMENT.match(comment or "")
    return Mark(found["remediation"], found["state"]) if found else None


def find_databases_of(session: Connection, remediation: str) -> list[str]:
    """Find every database that a remediation made or keeps, by name or comment.

    Args:
        session: A session in any database of the server.
        remediation: Id of the remediation.

    Returns:
        Their names.
    """
    rows = session.execute(
        """SELECT datname AS name, shobj_description(oid, 'pg_database') AS comment
           FROM pg_database WHERE NOT datistemplate ORDER BY datname"""
    ).fetchall()
    found = []
    for row in rows:
        mark = read_mark(row["comment"])
        if row["name"].endswith(f"_{remediation}") or (mark and mark.remediation == remediation):
            found.append(row["name"])
    return found


def horizon_text(until: datetime) -> str:
    """Write a horizon as the comments have it."""
    return f"kept until {until:%Y-%m-%d %H:%M} UTC"
