"""The indexes of a database as the catalogue has them, and what is wrong with them by that."""

import re
from typing import Any

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.giving_way import long_look
from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection, Database

_FIRST_OF_USERS = 16384  # smaller OIDs are the catalogue's
_NULLS_NOT_DISTINCT_SINCE = 150000
_DATABASE_COLLATION_SINCE = 150000
_LEFT_OVER = re.compile(r"_cc(new|old)\d*$")
_PAGE, _USABLE, _FILL = 8192, 8152, 0.9
_SHOWN = 10


class Index(BaseModel):
    """An index.

    Args:
        oid: Its OID, another one after each concurrent rebuild.
        schema_name: Its schema, and its table's.
        name: Its name.
        table: Its table's name.
        table_oid: Its table's OID.
        method: Its access method, as 'btree'.
        unique: Whether it keeps keys unique.
        exclusion: Whether it stands for an exclusion constraint.
        valid: Whether queries may use it.
        definition: The statement that makes its like.
        size: Bytes.
        keys: Its key columns or expressions.
        predicate: Which rows it holds, '' for all.
        nulls_distinct: Whether rows with a null never count as equal.
        building: Whether somebody builds an index on its table now.
        ours: Whether the maintenance user may rebuild it.
        wasted: Estimated share of its pages that a rebuild would free.
    """

    model_config = ConfigDict(frozen=True)

    oid: int
    schema_name: str
    name: str
    table: str
    table_oid: int
    method: str
    unique: bool
    exclusion: bool
    valid: bool
    definition: str
    size: int
    keys: tuple[str, ...]
    predicate: str
    nulls_distinct: bool
    building: bool
    ours: bool
    wasted: float

    @property
    def full_name(self) -> str:
        """Schema and name."""
        return f"{self.schema_name}.{self.name}"

    @property
    def is_left_over(self) -> bool:
        """Whether a concurrent rebuild that did not end has left it."""
        return not (self.valid or self.building) and bool(_LEFT_OVER.search(self.name))

    @property
    def is_catalogue(self) -> bool:
        """Whether it is the catalogue's: those are rebuilt under a lock only."""
        return self.table_oid < _FIRST_OF_USERS


def list_indexes(session: Connection) -> list[Index]:
    """List the indexes of a database, without those of temporary tables.

    Args:
        session: A session in the database.

    Returns:
        The indexes, by table and name; the wasted share is estimated from statistics.
    """
    new = session.info.server_version >= _NULLS_NOT_DISTINCT_SINCE
    nulls = "NOT i.indnullsnotdistinct" if new else "true"
    rows = session.execute(
        f"""SELECT c.oid::bigint AS oid, n.nspname AS schema_name, c.relname AS name,
              t.relname AS table, t.oid::bigint AS table_oid, m.amname AS method,
              i.indisunique AS unique, i.indisexclusion AS exclusion,
              i.indisvalid AND i.indisready AND i.indislive AS valid,
              pg_get_indexdef(c.oid) AS definition, coalesce(pg_relation_size(c.oid), 0) AS size,
              ARRAY(SELECT pg_get_indexdef(c.oid, k, true)
                    FROM generate_series(1, i.indnkeyatts) AS k) AS keys,
              coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
              {nulls} AS nulls_distinct, c.reltuples AS tuples, c.relpages AS pages,
              EXISTS (SELECT FROM pg_stat_progress_create_index p
                WHERE p.relid = t.oid AND p.datname = current_database()) AS building,
              pg_has_role(t.relowner, 'USAGE') AND has_schema_privilege(n.oid, 'USAGE') AS ours,
              (SELECT coalesce(sum(s.avg_width), 16) FROM pg_stats s
               WHERE s.schemaname = n.nspname AND s.tablename IN (t.relname, c.relname)
                 AND NOT s.inherited AND s.attname IN (
                   SELECT attname FROM pg_attribute WHERE attrelid = c.oid))::int AS width
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
              JOIN pg_namespace n ON n.oid = c.relnamespace
              JOIN pg_class t ON t.oid = i.indrelid JOIN pg_am m ON m.oid = c.relam
            WHERE c.relkind = 'i' AND c.relpersistence <> 't'
              AND pg_get_indexdef(c.oid) IS NOT NULL -- dropped meanwhile
            ORDER BY n.nspname, t.relname, c.relname"""  # noqa: S608 - a piece by server version
    ).fetchall()
    return [Index(wasted=_wasted(row), **_without(row)) for row in rows]


def _without(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("tuples", "pages", "width")}


def _wasted(row: dict[str, Any]) -> float:
    """Estimate the share of pages that a rebuild would free; deduplication hides some."""
    if row["method"] != "btree" or row["tuples"] < 0 or not row["pages"]:
        return 0.0
    entry = 12 + (row["width"] + 7) // 8 * 8
    needed = 1 + row["tuples"] * entry / (_USABLE * _FILL)
    return max(0.0, 1 - float(needed / row["pages"]))


def use_no_index(session: Connection) -> None:
    """Have the queries of this transaction read tables and no indexes."""
    for setting in ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"):
        session.execute("SELECT set_config(%s, 'off', true)", (setting,))


def find_duplicates(database: Database, index: Index) -> list[tuple[str, ...]]:
    """Find rows that a unique index should have kept out, without using any index.

    Args:
        database: The database under care.
        index: A unique index.

    Returns:
        Up to ten keys, each with how often it is there and where (ctid).

    Raises:
        Transient: Others queued behind the reading, which was given up.
    """
    # Pieces of the catalogue's own making: names in them are quoted already.
    keys = [sql.SQL(key) for key in index.keys]
    conditions = [sql.SQL("({}) IS NOT NULL").format(key) for key in keys if index.nulls_distinct]
    if index.predicate:
        conditions.append(sql.SQL("({})").format(sql.SQL(index.predicate)))
    query = sql.SQL(
        "SELECT concat_ws(', ', {keys}) AS key, count(*) AS many, "
        "(array_agg(ctid::text ORDER BY ctid))[1:5]::text AS places FROM ONLY {table} {where} "
        "GROUP BY {keys} HAVING count(*) > 1 LIMIT {limit}"
    ).format(
        keys=sql.SQL(", ").join(sql.SQL("({})").format(key) for key in keys),
        table=sql.Identifier(index.schema_name, index.table),
        where=sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions))
        if conditions
        else sql.SQL(""),
        limit=_SHOWN,
    )
    with long_look(database) as (session, watched):
        watcher = watched()
        try:
            with watcher, session.transaction():
                use_no_index(session)
                rows = session.execute(query).fetchall()
        except RemediationError as error:
            if not watcher.why:
                raise
            raise watcher.gave_up(
                f"look for keys of {index.full_name} that are there twice"
            ) from error
    return [(row["key"], str(row["many"]), row["places"]) for row in rows]


def find_changed_collations(session: Connection) -> list[str]:
    """Find collations whose rules have changed since indexes were built with them.

    Args:
        session: A session in the database.

    Returns:
        A sentence for each; text in an older order makes an index miss rows.
    """
    rows = session.execute(
        """SELECT quote_ident(n.nspname) || '.' || quote_ident(c.collname) AS name,
             c.collversion AS was, pg_collation_actual_version(c.oid) AS is
           FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
           WHERE c.collversion IS NOT NULL AND EXISTS (
             SELECT FROM pg_index i WHERE c.oid = ANY (i.indcollation))"""
    ).fetchall()
    if session.info.server_version >= _DATABASE_COLLATION_SINCE:
        rows += session.execute(
            """SELECT 'the default of ' || quote_ident(datname) AS name, datcollversion AS was,
                 pg_database_collation_actual_version(oid) AS is
               FROM pg_database WHERE datname = current_database() AND datcollversion IS NOT NULL"""
        ).fetchall()
    return [
        f"collation {row['name']} was version {row['was']} and is {row['is']}"
        for row in rows
        if row["was"] != row["is"]
    ]
