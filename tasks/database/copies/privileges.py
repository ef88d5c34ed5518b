"""Owners and privileges of a database's objects, compared between two databases."""

from psycopg import sql

from tasks.guardrails.plan import Finding
from tasks.platforms.protocols import Connection, Database

_QUERY = """
    SELECT 'relation ' || n.nspname || '.' || c.relname AS object,
      pg_get_userbyid(c.relowner) AS owner,
      coalesce((SELECT string_agg(a, ', ' ORDER BY a) FROM unnest(c.relacl::text[]) a), '') AS acl
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    UNION ALL
    SELECT 'schema ' || nspname, pg_get_userbyid(nspowner),
      coalesce((SELECT string_agg(a, ', ' ORDER BY a) FROM unnest(nspacl::text[]) a), '')
    FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure::text, pg_get_userbyid(p.proowner),
      coalesce((SELECT string_agg(a, ', ' ORDER BY a) FROM unnest(p.proacl::text[]) a), '')
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
    UNION ALL
    SELECT 'large object ' || oid::text, pg_get_userbyid(lomowner),
      coalesce((SELECT string_agg(a, ', ' ORDER BY a) FROM unnest(lomacl::text[]) a), '')
    FROM pg_largeobject_metadata"""
_SHOWN = 50


def read_privileges(session: Connection) -> dict[str, tuple[str, str]]:
    """Read owner and privileges of relations, schemas, functions and large objects.

    Args:
        session: A session in the database.

    Returns:
        Owner and privileges by kind and name.
    """
    rows = session.execute(sql.SQL(_QUERY)).fetchall()
    return {row["object"]: (row["owner"], row["acl"]) for row in rows}


def find_privilege_differences(database: Database, live: str, side: str) -> Finding:
    """List the objects of the copy whose owner or privileges differ from live's.

    The copy has those of the backup; after a cut-over they hold.

    Args:
        database: The database under care.
        live: Name of the live database.
        side: Name of the copy.

    Returns:
        A finding with a row for each difference.
    """
    with database.connect(live) as session:
        there = read_privileges(session)
    with database.connect(side) as session:
        here = read_privileges(session)
    differing = [name for name in sorted(there.keys() & here.keys()) if there[name] != here[name]]
    return Finding(
        what=f"{len(differing)} objects have other owners or privileges than in {live}: "
        "those of the backup will hold."
        if differing
        else f"All objects have the owners and privileges that they have in {live}.",
        how="pg_class, pg_namespace, pg_proc, pg_largeobject_metadata",
        columns=("object", "in live", "in the copy") if differing else (),
        rows=tuple(
            (name, " ".join(there[name]), " ".join(here[name])) for name in differing[:_SHOWN]
        ),
    )
