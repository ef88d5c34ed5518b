"""A database's schema, object by object, to see whether anything of it has changed."""

from collections.abc import Mapping

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Connection

_NAMED = 8
# What a migration makes, changes or drops. An object's text is its definition: equal texts,
# equal objects. What belongs to an extension or a session is left out.
_OBJECTS = """
    WITH ours AS (
      SELECT oid, nspname FROM pg_namespace
      WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
    rel AS (
      SELECT c.oid, c.relkind, c.reloptions, c.relname, format('%%I.%%I', n.nspname, c.relname)
        AS name FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
      WHERE c.relpersistence <> 't' AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
          AND d.classid = 'pg_class'::regclass))
    SELECT CASE relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' WHEN 'm' THEN
        'materialized view ' ELSE 'table ' END || name AS object,
      coalesce(array_to_string(reloptions, ','), '') || CASE WHEN relkind IN ('v', 'm')
        THEN pg_get_viewdef(oid) ELSE relkind::text END AS definition
      FROM rel WHERE relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
    UNION ALL SELECT format('column %%I of %%s', a.attname, r.name), concat_ws(' ',
        format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
        pg_get_expr(d.adbin, d.adrelid))
      FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm')
    UNION ALL SELECT 'index ' || r.name, i.indisvalid::text || pg_get_indexdef(i.indexrelid)
      FROM rel r JOIN pg_index i ON i.indexrelid = r.oid
    UNION ALL SELECT format('constraint %%I of %%s', k.conname, r.name),
        k.convalidated::text || pg_get_constraintdef(k.oid)
      FROM rel r JOIN pg_constraint k ON k.conrelid = r.oid
    UNION ALL SELECT format('trigger %%I of %%s', t.tgname, r.name), pg_get_triggerdef(t.oid)
      FROM rel r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
    UNION ALL SELECT 'function ' || p.oid::regprocedure::text, p.prosrc
      FROM pg_proc p JOIN ours n ON n.oid = p.pronamespace
      WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    UNION ALL SELECT format('type %%I.%%I', n.nspname, t.typname),
        (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum e
         WHERE e.enumtypid = t.oid)
      FROM pg_type t JOIN ours n ON n.oid = t.typnamespace WHERE t.typtype IN ('e', 'd')
    UNION ALL SELECT 'schema ' || quote_ident(nspname), '' FROM ours"""


def read_objects(session: Connection) -> dict[str, str]:
    """Read the schema of a database.

    Args:
        session: A session in it.

    Returns:
        A hash of each object's definition by its kind and name, as 'index public.ix'.
    """
    rows = session.execute(
        f"SELECT object, md5(coalesce(definition, '')) AS hash FROM ({_OBJECTS}) AS o",  # noqa: S608 - the constant above
        {},  # parameters, so that each %% above is one
    ).fetchall()
    return {row["object"]: row["hash"] for row in rows}


def describe_changes(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Name the objects that differ between two readings of a schema.

    Args:
        before: The first.
        after: The second.

    Returns:
        'new: ...; gone: ...; changed: ...'; '' where both are equal.
    """
    both = before.keys() & after.keys()
    found = {
        "new": sorted(after.keys() - before.keys()),
        "gone": sorted(before.keys() - after.keys()),
        "changed": sorted(name for name in both if before[name] != after[name]),
    }
    return "; ".join(f"{how}: {_listed(names)}" for how, names in found.items() if names)


def read_invalid_indexes(session: Connection) -> frozenset[str]:
    """Name the indexes that queries do not use, as what is CONCURRENTLY leaves them.

    Args:
        session: A session in the database.
    """
    rows = session.execute(
        """SELECT i.indexrelid::regclass::text AS name FROM pg_index i
             JOIN pg_class c ON c.oid = i.indexrelid
           WHERE NOT i.indisvalid AND c.relkind = 'i'"""
    ).fetchall()
    return frozenset(row["name"] for row in rows)


def tell_invalid_indexes(
    session: Connection, before: frozenset[str], live: str, revision: str
) -> str:
    """Insist that a revision left no index invalid; name those that were before.

    Args:
        session: A session in the database.
        before: The indexes that were invalid before.
        live: Name of the database.
        revision: The revision, which was applied.

    Returns:
        What to add to a note, '' where all are valid.

    Raises:
        PreconditionFailed: One is invalid that was not before.
    """
    invalid = read_invalid_indexes(session)
    if made := sorted(invalid - before):
        raise PreconditionFailed(
            expected=f"revision {revision} to leave its indexes valid.",
            found=f"invalid: {', '.join(made)}.",
            state=f"{live} is at revision {revision}; no query uses what is invalid.",
            todo="REINDEX INDEX CONCURRENTLY, or run rebuild_indexes.",
        )
    return f"; invalid as before: {', '.join(sorted(invalid))}" if invalid else ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
