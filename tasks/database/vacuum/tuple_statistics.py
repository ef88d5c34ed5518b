"""How much of a table is rows, as pgstattuple finds it in its pages.

Source: PostgreSQL manual, pgstattuple (pgstattuple_approx).
"""

from psycopg import sql

from tasks.database.catalogue import NO_TIMEOUTS, connect_with
from tasks.database.giving_way import Watcher
from tasks.database.vacuum.rewritable import Rewritable
from tasks.guardrails.errors import RemediationError, Transient
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection, Database

_FUNCTION = "pgstattuple_approx"
# An older one refuses the tables of long values, which count as full of rows then.
_LONG_VALUES_SINCE = 140000
# Holds up nobody who needs the table, and is no look any more beyond that.
_TIMEOUTS = {**NO_TIMEOUTS, "lock_timeout": "1s", "statement_timeout": "120s"}


def measure_content(database: Database, tables: list[Rewritable]) -> list[Rewritable]:
    """Measure how much of tables is rows; one that cannot be looked at keeps its estimate.

    Args:
        database: The database under care.
        tables: The tables.

    Returns:
        The same tables; the same estimates where the extension is not there, or the maintenance
        user may not use it.
    """
    with (
        connect_with(database, database.name, _TIMEOUTS) as session,
        database.connect() as beside,
    ):
        schema = _find_schema(session)
        if not schema:
            return tables
        return [_measured(session, beside, schema, one) for one in tables]


def _find_schema(session: Connection) -> str:
    """Give the schema of the extension, '' where it may not be used."""
    row = session.execute(
        """SELECT n.nspname AS name FROM pg_proc p
             JOIN pg_namespace n ON n.oid = p.pronamespace
             JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
             JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pgstattuple'
           WHERE p.proname = %s AND has_function_privilege(p.oid, 'EXECUTE')
             AND has_schema_privilege(n.oid, 'USAGE')""",
        (_FUNCTION,),
    ).fetchone()
    return str(row["name"]) if row else ""


def _measured(
    session: Connection, beside: Connection, schema: str, table: Rewritable
) -> Rewritable:
    try:
        with session.transaction(force_rollback=True), Watcher(beside, session):
            content = _content(session, schema, table.oid)
            looked_at = table.toast_oid and session.info.server_version >= _LONG_VALUES_SINCE
            long = _content(session, schema, table.toast_oid) if looked_at else table.long_content
    except RemediationError as error:
        if isinstance(error, Transient) and not sqlstate(error):
            raise  # the server went away
        return table
    return table.model_copy(update={"content": content, "long_content": long, "exact": True})


def _content(session: Connection, schema: str, oid: int) -> int:
    row = session.execute(
        sql.SQL(
            "SELECT greatest(0, table_len - dead_tuple_len - approx_free_space)::bigint AS bytes "
            "FROM {}(%s::oid::regclass)"
        ).format(sql.Identifier(schema, _FUNCTION)),
        (oid,),
    ).fetchone()
    return int(row["bytes"]) if row else 0
