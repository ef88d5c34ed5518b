"""An index that a remediation makes, as the catalogue has it, and its comment."""

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.platforms.protocols import Connection, Database


class Made(BaseModel):
    """An index as the catalogue has it under a name.

    Args:
        table_oid: OID of its table.
        columns: Its columns; an expression is ''.
        plain: Whether it is a B-tree over all rows.
        valid: Whether queries may use it.
        comment: Its comment.
    """

    model_config = ConfigDict(frozen=True)

    table_oid: int
    columns: tuple[str, ...]
    plain: bool
    valid: bool
    comment: str


def find_made(session: Connection, schema: str, name: str) -> Made | None:
    """Look an index up by its name, None where there is none."""
    row = session.execute(
        """SELECT i.indrelid::bigint AS table_oid, m.amname = 'btree' AND i.indpred IS NULL
               AND NOT i.indisunique AS plain,
             ARRAY(SELECT coalesce(a.attname::text, '') FROM generate_series(1, i.indnatts) AS k
                   LEFT JOIN pg_attribute a
                     ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1] ORDER BY k)
               AS columns,
             i.indisvalid AND i.indisready AND i.indislive AS valid,
             coalesce(obj_description(c.oid, 'pg_class'), '') AS comment
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am m ON m.oid = c.relam
           WHERE (n.nspname, c.relname) = (%s, %s)""",
        (schema, name),
    ).fetchone()
    return Made(**row) if row else None


def write_comment(database: Database, schema: str, name: str, comment: str) -> None:
    """Write an index's comment, waiting a second at most for who holds it."""
    with database.connect(lock_timeout="1s", statement_timeout="5s") as session:
        session.execute(
            sql.SQL("COMMENT ON INDEX {} IS {}").format(
                sql.Identifier(schema, name), sql.Literal(comment)
            )
        )
