"""Carried rows are taken back, as far as nobody has changed them or points at them since."""

from collections.abc import Mapping

from psycopg import sql

from tasks.database.carry.journal import schema_of
from tasks.database.carry.kept_rows import Left
from tasks.database.carry.marks import note_taking_back
from tasks.database.carry.refusals import is_refusal, reason_of, without_values
from tasks.database.carry.row_moves import FORMER, LANDED, make_temporary, move, temporary
from tasks.database.carry.sides import Sessions
from tasks.database.carry.statements import set_from
from tasks.database.carry.table_shapes import (
    Reference,
    Shape,
    equal,
    in_order,
    is_parent,
    read_references,
    read_shapes,
)
from tasks.guardrails.errors import RemediationError, Transient, UndoFailed
from tasks.platforms.protocols import Connection


def count_standing(kept: Connection, live: Connection, remediation: str) -> int:
    """Count the carried rows that stand in live as they landed, by key and content.

    Args:
        kept: A session in the kept database.
        live: A session in live.
        remediation: Id of the remediation that carried them.

    Returns:
        How many.
    """
    total = 0
    with (
        without_values("The rows stand as they are."),
        live.transaction(force_rollback=True),
    ):
        for number, shape in _load(kept, live, remediation).items():
            row = live.execute(
                sql.SQL("SELECT count(*) AS n FROM {} AS c JOIN ONLY {} AS t ON {}").format(
                    temporary(LANDED, number), shape.table, _as_landed(shape)
                )
            ).fetchone() or {"n": 0}
            total += int(row["n"])
    return total


def _as_landed(shape: Shape) -> sql.Composed:
    return sql.SQL("{} AND ROW({})::text = ROW({})::text").format(
        shape.same_key("t", "c"), shape.listed("t"), shape.listed("c")
    )


def take_back(
    sessions: Sessions, kept_oid: int, remediation: str
) -> tuple[int, int, tuple[Left, ...]]:
    """Take carried rows back in one transaction, which is noted before it is committed.

    Args:
        sessions: The sessions.
        kept_oid: OID of the kept database.
        remediation: Id of the remediation that carried them.

    Returns:
        Rows deleted, rows given their former content, and rows left with the reason.

    Raises:
        UndoFailed: Live refuses that; no row was taken back.
        Transient: A lock was not had in time; no row was taken back.
    """
    with without_values("All carried rows stand, as they are now."):
        return _take_back(sessions, kept_oid, remediation)


def _take_back(
    sessions: Sessions, kept_oid: int, remediation: str
) -> tuple[int, int, tuple[Left, ...]]:
    kept, live = sessions.kept, sessions.live
    try:
        with live.transaction():
            live.execute("SET CONSTRAINTS ALL DEFERRED")
            shapes, references = _load(kept, live, remediation), read_references(live)
            left: list[Left] = []
            for number, shape in shapes.items():
                changed = _take_out_changed(live, number, shape)
                left += [Left(shape.shown, one, "changed or deleted since") for one in changed]
            left += _take_out_referenced(live, shapes, references)
            deleted = changed_back = 0
            for shape in reversed(in_order(shapes.values(), references)):
                number = next(n for n, one in shapes.items() if one is shape)
                row = live.execute(_statement(number, shape)).fetchone() or {}
                deleted, changed_back = deleted + row["deleted"], changed_back + row["changed"]
            live.execute("SET CONSTRAINTS ALL IMMEDIATE")
            xid = live.execute("SELECT pg_current_xact_id()::text AS xid").fetchone() or {}
            note_taking_back(sessions.beside, kept_oid, remediation, int(xid["xid"]))
    except Transient:
        raise
    except RemediationError as error:
        if not is_refusal(error):
            raise
        raise UndoFailed(
            expected="live to let the carried rows go.",
            found=f"it refused: {reason_of(error)}.",
            state="All carried rows stand, as they are now.",
            todo="Look at that constraint or trigger; take the rows back by hand.",
        ) from None  # the server's detail has the row's values
    return deleted, changed_back, tuple(left)


def _load(kept: Connection, live: Connection, remediation: str) -> dict[int, Shape]:
    """Bring the journal into temporary tables of live's session."""
    schema, present = schema_of(remediation), read_shapes(live)
    rows = kept.execute(
        sql.SQL("SELECT number, \"schema\" || '.' || name AS shown FROM {} ORDER BY 1").format(
            sql.Identifier(schema, "tables")
        )
    ).fetchall()
    shapes = {row["number"]: present[row["shown"]] for row in rows if row["shown"] in present}
    for number, shape in shapes.items():
        for kind in (LANDED, FORMER):
            goal = make_temporary(live, kind, number, shape)
            query = sql.SQL("SELECT {} FROM {}").format(
                shape.listed(), sql.Identifier(schema, f"{kind}_{number}")
            )
            move(kept, query, live, goal, shape)
            live.execute(sql.SQL("ANALYZE {}").format(goal))
    return shapes


def _take_out_changed(live: Connection, number: int, shape: Shape) -> list[str]:
    """Take out the rows that are not in live as they landed; those that are get locked."""
    landed = temporary(LANDED, number)
    live.execute(
        sql.SQL("SELECT 1 FROM ONLY {} AS t JOIN {} AS c ON {} FOR UPDATE OF t").format(
            shape.table, landed, shape.same_key("t", "c")
        )
    )
    rows = live.execute(
        sql.SQL(
            "DELETE FROM {} AS c WHERE NOT EXISTS (SELECT FROM ONLY {} AS t WHERE {}) "
            "RETURNING {} AS key"
        ).format(landed, shape.table, _as_landed(shape), shape.key_of("c"))
    ).fetchall()
    live.execute(
        sql.SQL("DELETE FROM {} AS f WHERE NOT EXISTS (SELECT FROM {} AS c WHERE {})").format(
            temporary(FORMER, number), landed, shape.same_key("f", "c")
        )
    )
    return [row["key"] for row in rows]


def _take_out_referenced(
    live: Connection, shapes: Mapping[int, Shape], references: list[Reference]
) -> list[Left]:
    """Take out the rows to which something points that stays, until none is left of them."""
    left: list[Left] = []
    while True:
        found = 0
        for number, shape in shapes.items():
            for reference in references:
                if not is_parent(shape, reference):
                    continue
                rows = live.execute(_referenced(number, shape, shapes, reference)).fetchall()
                why = f"something points at it that was written since ({reference.name})"
                left += [Left(shape.shown, row["key"], why) for row in rows]
                found += len(rows)
        if not found:
            return left


def _referenced(
    number: int, shape: Shape, shapes: Mapping[int, Shape], reference: Reference
) -> sql.Composed:
    points = equal("r", reference.columns, "c", reference.keys)
    for at, child in shapes.items():
        if child.oid == reference.child:  # rows that go themselves, or no longer point there
            points = sql.SQL("{} AND NOT EXISTS (SELECT FROM {} AS g WHERE {})").format(
                points, temporary(LANDED, at), child.same_key("g", "r")
            )
    return sql.SQL(
        """DELETE FROM {landed} AS c WHERE EXISTS (SELECT FROM {by} AS r WHERE {points})
             AND NOT EXISTS (SELECT FROM {former} AS f WHERE {same}) RETURNING {key} AS key"""
    ).format(
        landed=temporary(LANDED, number),
        by=reference.by,
        points=points,
        former=temporary(FORMER, number),
        same=shape.same_key("f", "c"),
        key=shape.key_of("c"),
    )


def _statement(number: int, shape: Shape) -> sql.Composed:
    """Write the statement that deletes what was inserted and gives back what was changed."""
    landed, former = temporary(LANDED, number), temporary(FORMER, number)
    back: sql.Composable = sql.SQL("SELECT 1 WHERE false")
    if shape.set_columns:
        back = sql.SQL(
            "UPDATE ONLY {} AS t SET {} FROM {} AS f WHERE {} "
            "AND (SELECT count(*) FROM gone) >= 0 RETURNING 1"
        ).format(shape.table, set_from(shape, "f"), former, shape.same_key("t", "f"))
    return sql.SQL(
        """WITH gone AS (
             DELETE FROM ONLY {table} AS t USING {landed} AS c WHERE {same}
               AND NOT EXISTS (SELECT FROM {former} AS f WHERE {is_former}) RETURNING 1),
           back AS ({back})
           SELECT (SELECT count(*) FROM gone)::int AS deleted,
             (SELECT count(*) FROM back)::int AS changed"""
    ).format(
        table=shape.table,
        landed=landed,
        same=shape.same_key("t", "c"),
        former=former,
        is_former=shape.same_key("f", "c"),
        back=back,
    )
