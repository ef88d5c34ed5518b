"""Give what a role owns in one database to another role, and nothing outside it.

REASSIGN OWNED would also give away the databases themselves, live among them.
"""

from psycopg import sql

from tasks.platforms.protocols import Connection

_OWNED = """
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
             WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'm' THEN 'MATERIALIZED VIEW'
             ELSE 'TABLE' END AS kind,
           c.oid::regclass::text AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relowner = %(role)s::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND c.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i')
                      AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                      AND c.relkind = 'S')
    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
           p.oid::regprocedure::text
    FROM pg_proc p WHERE p.proowner = %(role)s::regrole
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    UNION ALL
    SELECT CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, t.oid::regtype::text
    FROM pg_type t WHERE t.typowner = %(role)s::regrole AND t.typtype IN ('d', 'e', 'r')
    UNION ALL
    SELECT 'SCHEMA', quote_ident(nspname) FROM pg_namespace
    WHERE nspowner = %(role)s::regrole AND nspname <> 'public'"""


def give_all_to(session: Connection, owner: str, heir: str) -> int:
    """Give everything that a role owns in a database to another role.

    Args:
        session: A session in the database, of a member of both roles.
        owner: The role that owns now.
        heir: The role that will own.

    Returns:
        How many objects changed hands.
    """
    with session.transaction():
        session.execute("SET LOCAL search_path = pg_catalog")
        # ALTER ... OWNER asks that the new owner may create in the schema.
        schemas = session.execute(
            """SELECT nspname AS name, has_schema_privilege(%(heir)s, oid, 'CREATE')
                 AND has_schema_privilege(%(heir)s, oid, 'USAGE') AS open
               FROM pg_namespace
               WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'""",
            {"heir": heir},
        ).fetchall()
        grant = sql.SQL("GRANT ALL ON SCHEMA {} TO {}")
        for row in schemas:
            if not row["open"]:  # else the grant would stay behind
                session.execute(grant.format(sql.Identifier(row["name"]), sql.Identifier(heir)))
        rows = session.execute(
            _OWNED, {"role": sql.Identifier(owner).as_string(session)}
        ).fetchall()
        for row in rows:
            # kind and name are the server's own, quoted by regclass and its like.
            session.execute(
                sql.SQL(f"ALTER {row['kind']} {row['name']} OWNER TO {{}}").format(
                    sql.Identifier(heir)
                )
            )
        revoke = sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}")
        if owner.startswith("remedy_"):
            for row in schemas:
                session.execute(revoke.format(sql.Identifier(row["name"]), sql.Identifier(owner)))
    return len(rows)
