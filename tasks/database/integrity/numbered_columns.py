"""Columns numbered by a sequence that stands behind them: the next insert fails on a key."""

from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql

from tasks.database.giving_way import Watcher, long_look
from tasks.guardrails.errors import RemediationError, Transient
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection, Database

# A sequence belongs to a column (serial, identity), or is in its default only.
_LIST = """
    WITH numbered AS (
      SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid::int AS number
      FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
      UNION
      SELECT d.refobjid, f.adrelid, f.adnum::int
      FROM pg_attrdef f JOIN pg_depend d ON d.objid = f.oid
      WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.deptype = 'n')
    SELECT s.oid::regclass::text AS sequence, n.nspname AS schema, t.relname AS table,
      a.attname AS column, t.oid::regclass::text || '.' || quote_ident(a.attname) AS shown,
      q.seqincrement > 0 AS up,
      has_table_privilege(s.oid, 'SELECT') AND has_table_privilege(t.oid, 'SELECT') AS readable
    FROM numbered JOIN pg_class s ON s.oid = numbered.sequence AND s.relkind = 'S'
      JOIN pg_sequence q ON q.seqrelid = s.oid
      JOIN pg_class t ON t.oid = numbered.relation JOIN pg_namespace n ON n.oid = t.relnamespace
      JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = numbered.number
    WHERE a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
      AND t.relkind IN ('r', 'p') AND NOT pg_is_other_temp_schema(n.oid)
    ORDER BY 1, 5"""


@dataclass(frozen=True)
class Numbered:
    """A column that a sequence numbers.

    Args:
        sequence: As SQL names it.
        column: The same, with its table.
        up: Whether the sequence counts up.
        greatest: The greatest value in the column (the least, of a sequence that counts down)
            where the sequence stands behind it, else None.
        unread: Why it could not be looked at; '' where it was.
    """

    sequence: str
    column: str
    up: bool = True
    greatest: int | None = None
    unread: str = ""


def verify_sequences(database: Database) -> list[Numbered]:
    """Look whether each sequence's next value is in a column already that it numbers.

    Args:
        database: The database under care.

    Returns:
        Every column that is numbered by a sequence.

    Raises:
        Transient: The server went away.
    """
    with long_look(database) as (session, watched):
        return [_look(session, row, watched()) for row in list_numbered(session)]


def list_numbered(session: Connection) -> list[dict[str, Any]]:
    """List the columns that sequences number.

    Args:
        session: A session in the database.

    Returns:
        For each: sequence, schema, table, column, as it is shown, whether the sequence counts up,
        and whether both may be read.
    """
    return session.execute(_LIST).fetchall()


def _look(session: Connection, row: dict[str, Any], watcher: Watcher) -> Numbered:
    column = Numbered(row["sequence"], row["shown"], row["up"])
    if not row["readable"]:
        return replace(column, unread="no right to read it")
    try:
        with watcher:
            found = session.execute(_question(row)).fetchone()
    except RemediationError as error:
        if isinstance(error, Transient) and not (watcher.why or sqlstate(error)):
            raise
        why = f"given up: {watcher.why}" if watcher.why else error.found.rstrip(".")
        return replace(column, unread=why)
    if found is None or found["most"] is None:
        return column
    ahead = found["most"] - found["last_value"]
    if not row["up"]:
        ahead = -ahead
    behind = ahead > 0 or (ahead == 0 and not found["is_called"])
    return replace(column, greatest=int(found["most"])) if behind else column


def _question(row: dict[str, Any]) -> sql.Composed:
    return sql.SQL(
        "SELECT (SELECT {most}({column}) FROM {table}) AS most, last_value, is_called "
        "FROM {sequence}"
    ).format(
        most=sql.SQL("max" if row["up"] else "min"),
        column=sql.Identifier(row["column"]),
        table=sql.Identifier(row["schema"], row["table"]),
        sequence=sql.SQL(row["sequence"]),  # regclass: quoted by the server
    )
