"""The journal of carried rows, in a schema of the kept database: as they landed, and before."""

from collections.abc import Mapping

from psycopg import sql

from tasks.database.carry.row_moves import FORMER, LANDED, ROWS, move, temporary
from tasks.database.carry.sides import Sessions
from tasks.database.carry.table_shapes import Shape
from tasks.platforms.protocols import Connection


def schema_of(remediation: str) -> str:
    """Name the schema of the kept database in which the journal is."""
    return f"remedy_{remediation}"


def has_journal(kept: Connection, remediation: str) -> bool:
    """Say whether a remediation has a journal in the kept database."""
    row = kept.execute(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s) AS there",
        (schema_of(remediation),),
    ).fetchone()
    return bool(row and row["there"])


def drop_journal(kept: Connection, remediation: str) -> None:
    """Drop the journal, or what a killed process has made of one."""
    kept.execute(
        sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema_of(remediation)))
    )


def take_journal(
    sessions: Sessions, shapes: Mapping[int, Shape], xid: int, remediation: str
) -> int:
    """Write what landed and what it took the place of into the kept database."""
    schema, rows = schema_of(remediation), 0
    kept, live = sessions.kept, sessions.live
    kept.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    kept.execute(
        sql.SQL('CREATE TABLE {} (number int, "schema" text, name text)').format(
            sql.Identifier(schema, "tables")
        )
    )
    for number, shape in shapes.items():
        kept.execute(
            sql.SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(sql.Identifier(schema, "tables")),
            (number, shape.schema, shape.name),
        )
        # As they are in live now: a trigger may have changed them.
        landed = sql.SQL(
            "SELECT {} FROM ONLY {} AS t JOIN {} AS c ON {} WHERE t.xmin = {}::xid"
        ).format(
            shape.listed("t"),
            shape.table,
            temporary(ROWS, number),
            shape.same_key("t", "c"),
            str(xid % 2**32),
        )
        former = sql.SQL("SELECT {} FROM {} AS f").format(
            shape.listed("f"), temporary(FORMER, number)
        )
        for kind, query in ((LANDED, landed), (FORMER, former)):
            goal = sql.Identifier(schema, f"{kind}_{number}")
            kept.execute(
                sql.SQL("CREATE TABLE {} AS SELECT {} FROM ONLY {} WITH NO DATA").format(
                    goal, shape.listed(), shape.table
                )
            )
            move(live, query, kept, goal, shape)
        row = kept.execute(
            sql.SQL("SELECT count(*) AS n FROM {}").format(
                sql.Identifier(schema, f"{LANDED}_{number}")
            )
        ).fetchone() or {"n": 0}
        rows += int(row["n"])
    return rows
