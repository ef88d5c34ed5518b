"""Whether a database holds rows that somebody may miss."""

from dataclasses import dataclass

from psycopg import sql

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Loss
from tasks.guardrails.words import counted
from tasks.platforms.protocols import Connection, System

_COUNTED = 10_000
_SHOWN = 5


@dataclass(frozen=True)
class RowsOfUsers:
    """Rows that are in a database, but for the record of its schema's revision.

    Args:
        tables: Rows by table, those without any left out; counted up to 10,000 each.
    """

    tables: dict[str, int]

    @property
    def count(self) -> int:
        """How many rows there are, at least."""
        return sum(self.tables.values())

    def __str__(self) -> str:
        """Say how many there are, and where."""
        named = [*list(self.tables)[:_SHOWN], *(["..."] if len(self.tables) > _SHOWN else [])]
        where = f"{counted(len(self.tables), 'table')} ({', '.join(named)})"
        return f"at least {counted(self.count, 'row')} in {where}"


def find_rows(system: System) -> RowsOfUsers:
    """Count the rows of the database under care, table by table.

    Args:
        system: The target.

    Returns:
        What is there. A table of an extension, and that of the schema's revision, count not.

    Raises:
        PreconditionFailed: A table cannot be read: what is in it is not known.
        Transient: A table is locked.
    """
    version_table = system.migrations.version_table if system.migrations else ""
    with system.database.connect(lock_timeout="2s", statement_timeout="60s") as session:
        found = count_rows(session, version_table)
    return RowsOfUsers({table: count for table, count in found.items() if count})


def count_rows(session: Connection, version_table: str) -> dict[str, int]:
    """Count the rows of a database by table, up to 10,000 each; its large objects, too.

    Args:
        session: A session in it.
        version_table: Name of the table of the schema's revision, which is left out.

    Raises:
        PreconditionFailed: A table cannot be read as a whole: what is in it is not known.
    """
    session.execute("SET row_security = off")  # hidden rows are an error, and not none
    found = {
        f"{schema}.{name}": _count(session, schema, name)
        for schema, name in _tables(session)
        if name != version_table
    }
    row = session.execute("SELECT count(*) AS n FROM pg_largeobject_metadata").fetchone()
    return {**found, "large objects": int(row["n"]) if row else 0}


def loss_of(rows: RowsOfUsers) -> Loss | None:
    """Say what goes with a database that is taken away; None where it holds no row."""
    if not rows.count:
        return None
    return Loss(rows.count, "rows", f"{rows}, which users or migrations have written since.")


def insist_on_no_rows(system: System) -> None:
    """Make sure that nobody's row is in the database under care.

    Raises:
        PreconditionFailed: Rows are.
    """
    rows = find_rows(system)
    if rows.count:
        raise PreconditionFailed(
            expected=f"a database {system.database.name} without rows, to initialise it.",
            found=f"{rows}.",
            todo="Nothing is initialised where there is data. If it is damaged or old: "
            "restore_from_backup. If only its schema is old: apply_migrations.",
        )


def _tables(session: Connection) -> list[tuple[str, str]]:
    rows = session.execute(
        """SELECT n.nspname AS schema, c.relname AS name
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
             AND n.nspname !~ '^pg_(toast|temp)'
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
               AND d.classid = 'pg_class'::regclass)
           ORDER BY 1, 2"""
    ).fetchall()
    return [(row["schema"], row["name"]) for row in rows]


def _count(session: Connection, schema: str, name: str) -> int:
    row = session.execute(
        sql.SQL("SELECT count(*) AS n FROM (SELECT FROM ONLY {} LIMIT {}) AS first").format(
            sql.Identifier(schema, name), _COUNTED
        )
    ).fetchone()
    return int(row["n"]) if row else 0
