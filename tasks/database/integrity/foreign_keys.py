"""Rows whose foreign key leads nowhere, found without trusting any index.

A constraint is checked when rows change, never again: rows deleted with the triggers off, or
lost with a damaged page, leave others behind that point at nothing.
"""

from typing import Any

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.giving_way import long_look
from tasks.database.indexes.catalogue import use_no_index
from tasks.guardrails.errors import RemediationError, Transient
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection, Database

# Pages in a batch, 256 MB: no snapshot is kept for long. Older servers read all for each batch.
_BATCH, _BATCHES_SINCE = 32768, 140000
_FEW = 5
_MATCH_FULL = "f"


class ForeignKey(BaseModel):
    """A foreign key and what was found of it.

    Args:
        name: Name of the constraint.
        table: 'schema.name' of the table that points.
        points_at: 'schema.name' of the table that is pointed at.
        columns: Columns that point.
        validated: Whether all rows were checked when it was made.
        orphans: Rows that point at nothing.
        examples: Keys of some of them.
        unread: Why it could not be looked at; '' where it was.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    table: str
    points_at: str
    columns: tuple[str, ...]
    validated: bool
    orphans: int = 0
    examples: tuple[str, ...] = ()
    unread: str = ""


def verify_foreign_keys(database: Database) -> list[ForeignKey]:
    """Look for rows that point at nothing, in every foreign key.

    Args:
        database: The database under care.

    Returns:
        Every foreign key, with how many rows of it point at nothing.

    Raises:
        Transient: The server went away.
    """
    found = []
    with long_look(database) as (session, watched):
        for row in _list(session):
            key = ForeignKey(
                name=row["name"],
                table=f"{row['schema']}.{row['child']}",
                points_at=f"{row['parent_schema']}.{row['parent']}",
                columns=tuple(row["columns"]),
                validated=row["validated"],
            )
            try:
                with watched() as watcher:
                    orphans, examples = _count(session, row)
            except RemediationError as error:
                if isinstance(error, Transient) and not sqlstate(error):
                    raise
                why = f"given up: {watcher.why}" if watcher.why else error.found.rstrip(".")
                found.append(key.model_copy(update={"unread": why}))
                continue
            update = {"orphans": orphans, "examples": tuple(examples)}
            found.append(key.model_copy(update=update))
    return found


def _list(session: Connection) -> list[dict[str, Any]]:
    return session.execute(
        """SELECT c.conname AS name, n.nspname AS schema, t.relname AS child,
             pn.nspname AS parent_schema, p.relname AS parent, c.convalidated AS validated,
             c.confmatchtype::text AS match, t.relkind = 'r' AS plain,
             p.relkind = 'r' AS plain_parent,
             coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) AS period,
             pg_relation_size(t.oid) / current_setting('block_size')::int AS pages,
             ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k(n, i)
                   JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.n ORDER BY k.i)
               AS columns,
             ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k(n, i)
                   JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = k.n ORDER BY k.i)
               AS keys
           FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
             JOIN pg_namespace n ON n.oid = t.relnamespace
             JOIN pg_class p ON p.oid = c.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
           WHERE c.contype = 'f' AND c.conparentid = 0
             -- What is NOT ENFORCED (PostgreSQL 18 and newer) may lead nowhere.
             AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)
           ORDER BY 2, 3, 1"""
    ).fetchall()


def _count(session: Connection, row: dict[str, Any]) -> tuple[int, list[str]]:
    batches = row["plain"] and session.info.server_version >= _BATCHES_SINCE
    starts = range(0, max(1, row["pages"]), _BATCH) if batches else [None]
    orphans, examples = 0, list[str]()
    for start in starts:
        with session.transaction():
            use_no_index(session)  # but TID ranges: a damaged index would hide rows
            seen = session.execute(_question(row, start)).fetchone() or {"n": 0, "few": []}
        orphans += int(seen["n"])
        examples += list(seen["few"] or [])
    return orphans, examples[:_FEW]


def _question(row: dict[str, Any], start: int | None) -> sql.Composed:
    pairs = list(zip(row["columns"], row["keys"], strict=True))
    own = [sql.Identifier("c", column) for column, _ in pairs]
    nulls = " OR " if row["match"] == _MATCH_FULL else " AND "
    conditions = [
        sql.SQL("({})").format(
            sql.SQL(nulls).join(sql.SQL("{} IS NOT NULL").format(one) for one in own)
        )
    ]
    if start is not None:
        conditions.append(
            sql.SQL("c.ctid >= {}::tid AND c.ctid < {}::tid").format(
                sql.Literal(f"({start},0)"), sql.Literal(f"({start + _BATCH},0)")
            )
        )
    # Rows that came behind the last batch are the constraint's own affair: it checked them now.
    return sql.SQL(
        "SELECT count(*) AS n, array_agg(shown) FILTER (WHERE number <= {few}) AS few FROM ("
        "SELECT concat_ws(', ', {own}) AS shown, row_number() OVER () AS number FROM {only} "
        "{child} AS c WHERE {conditions} AND NOT {found}) AS orphans"
    ).format(
        own=sql.SQL(", ").join(own),
        few=sql.Literal(_FEW),
        only=sql.SQL("ONLY" if row["plain"] else ""),
        child=sql.Identifier(row["schema"], row["child"]),
        conditions=sql.SQL(" AND ").join(conditions),
        found=_found(row, pairs),
    )


def _found(row: dict[str, Any], pairs: list[tuple[str, str]]) -> sql.Composed:
    """Write the condition that a row points at something.

    The last column of one with PERIOD (PostgreSQL 18 and newer) is a range, which all the rows
    of that key together have to cover.
    """
    *others, (column, key) = pairs
    # A key holds for the table itself, and not for those that inherit from it.
    parent = sql.SQL("{} {}").format(
        sql.SQL("ONLY" if row["plain_parent"] else ""),
        sql.Identifier(row["parent_schema"], row["parent"]),
    )
    same = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("p", theirs), sql.Identifier("c", own))
        for own, theirs in (others if row["period"] else pairs)
    )
    if not row["period"]:
        return sql.SQL("EXISTS (SELECT FROM {} AS p WHERE {})").format(parent, same)
    return sql.SQL("coalesce({} <@ (SELECT range_agg({}) FROM {} AS p WHERE {}), false)").format(
        sql.Identifier("c", column), sql.Identifier("p", key), parent, same
    )
