"""The extension amcheck: where it is, and who has to let us use it.

Source: PostgreSQL manual F.1: its functions are superusers' only until they are granted.
"""

from typing import Any

from psycopg import sql

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.postgresql_errors import NOT_PERMITTED, sqlstate
from tasks.platforms.protocols import Connection

_HEAPS_SINCE = 140000
_INDEX_CHECK = "bt_index_check(regclass, boolean)"
HEAP_CHECK = "verify_heapam(regclass, boolean, boolean, text, bigint, bigint)"
_NOT_THERE = ("0A000", "58P01")


def have_amcheck(session: Connection, function: str = _INDEX_CHECK) -> str:
    """Give the schema of amcheck's functions, installing them for this transaction if need be.

    Args:
        session: A session in a transaction that is rolled back.
        function: The one that is to be used, with the types of its arguments.

    Raises:
        PreconditionFailed: It is not installed, and may not be, or has no such function that may
            be used; says what lets us.
    """
    row = _find(session, function)
    if row is None:
        try:
            with session.transaction():
                session.execute("CREATE EXTENSION amcheck SCHEMA pg_catalog")
        except PreconditionFailed as error:
            if sqlstate(error) == NOT_PERMITTED:
                error.todo = _how_to_allow(session, "pg_catalog", create=True)
            elif sqlstate(error) in _NOT_THERE:
                error.todo = "Install PostgreSQL's contrib package on the server: amcheck is in it."
            raise
        return have_amcheck(session, function)
    if not row["ours"]:
        raise PreconditionFailed(
            expected="amcheck's functions to be the maintenance user's to use.",
            found=f"it may not execute {function.partition('(')[0]} of schema {row['schema']}.",
            todo=_how_to_allow(session, row["quoted"], create=False),
        )
    return str(row["schema"])


def _find(session: Connection, function: str) -> dict[str, Any] | None:
    """Give the schema of the extension, and whether its function is there and ours to use."""
    return session.execute(
        """SELECT n.nspname AS schema, quote_ident(n.nspname) AS quoted,
             has_schema_privilege(n.oid, 'USAGE') AND coalesce(has_function_privilege(
               to_regprocedure(quote_ident(n.nspname) || '.' || %s), 'EXECUTE'), false) AS ours
           FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
           WHERE e.extname = 'amcheck'""",
        [function],
    ).fetchone()


def _how_to_allow(session: Connection, schema: str, *, create: bool) -> str:
    """Write what a superuser runs, so that amcheck can be used here."""
    user = sql.Identifier(session.info.user).as_string(session)
    heaps = session.info.server_version >= _HEAPS_SINCE
    functions = [f"{schema}.{one}" for one in (_INDEX_CHECK, *([HEAP_CHECK] if heaps else []))]
    return "\n".join(
        (
            f"As a superuser, in database {session.info.dbname}:",
            *([f"CREATE EXTENSION amcheck SCHEMA {schema};"] if create else []),
            *([] if schema == "pg_catalog" else [f"GRANT USAGE ON SCHEMA {schema} TO {user};"]),
            *(f"GRANT EXECUTE ON FUNCTION {function} TO {user};" for function in functions),
        )
    )
