"""What an index would change in a plan, foretold by hypopg without building it.

Source: hypopg's manual, "Usage"; its indexes exist in one session only, and take no space.
"""

from dataclasses import dataclass

from pglast import ast, parse_sql
from pglast.parser import ParseError
from pglast.stream import RawStream
from psycopg import sql

from tasks.database.queries.plan_errors import say_without_values
from tasks.database.queries.plans import TIMEOUTS, QueryPlan, explain
from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.platforms.protocols import Connection

UNFORETOLD = "cannot be foretold here: the extension hypopg is not installed in the database"
_EXTENSION = "hypopg"


@dataclass(frozen=True)
class Foretold:
    """A query's plan as it would be with an index.

    Args:
        plan: The plan.
        used: Whether it would use the index.
    """

    plan: QueryPlan
    used: bool


def find_hypopg(session: Connection) -> str:
    """Give the schema in which hypopg is installed, '' where it is not."""
    row = session.execute(
        """SELECT n.nspname AS name FROM pg_extension e
           JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = %s""",
        (_EXTENSION,),
    ).fetchone()
    return str(row["name"]) if row else ""


def foretell(session: Connection, statement: str, index: str) -> Foretold | None:
    """Foretell a query's plan with an index that is not there.

    Args:
        session: A session in the database; the index is gone from it afterwards.
        statement: The query, with or without parameters.
        index: The CREATE INDEX statement.

    Returns:
        The plan; None where the database has no hypopg.

    Raises:
        BadInput: The query or the index cannot be planned.
        Transient: The table is locked.
    """
    schema = find_hypopg(session)
    if not schema:
        return None
    try:
        with session.transaction():  # hypopg keeps it beyond that
            for setting, value in TIMEOUTS.items():
                session.execute("SELECT set_config(%s, %s, true)", (setting, value))
            row = session.execute(
                sql.SQL("SELECT indexname AS name FROM {}(%s)").format(
                    sql.Identifier(schema, "hypopg_create_index")
                ),
                (index,),
            ).fetchone()
    except PreconditionFailed as error:  # a table or column that is not there, mostly
        raise _unusable(say_without_values(error, index) or "it cannot be used") from None
    try:
        plan = explain(session, statement)
    finally:
        session.execute(sql.SQL("SELECT {}()").format(sql.Identifier(schema, "hypopg_reset")))
    return Foretold(plan, used=row is not None and plan.uses(str(row["name"])))


def read_index(text: str) -> str:
    """Read what somebody says of an index that might be made.

    Args:
        text: A CREATE INDEX statement, or 'table (column, column)'.

    Returns:
        The CREATE INDEX statement.

    Raises:
        BadInput: It is neither, or more than one.
    """
    begins = text.lstrip().lower().startswith("create")
    statement = text if begins else f"CREATE INDEX ON {text}"
    try:
        parsed = parse_sql(statement)
    except ParseError:  # what it says quotes the text, which may hold values
        raise _unusable("no SQL that can be read") from None
    if len(parsed) != 1 or not isinstance(parsed[0].stmt, ast.IndexStmt):
        raise _unusable(f"{len(parsed)} statements, or one of another kind")
    return statement


def concurrently(index: str) -> str:
    """Give a CREATE INDEX statement as one that holds no write up.

    Args:
        index: The statement, from `read_index`.
    """
    statements = parse_sql(index)
    for one in statements:
        if isinstance(one.stmt, ast.IndexStmt):
            one.stmt.concurrent = True
    return str(RawStream()(statements))


def _unusable(found: str) -> BadInput:
    return BadInput(
        expected="an index: one CREATE INDEX statement, or 'table (column, column)'.",
        found=f"{found}.",
        state="Nothing was carried out.",
        todo="For example: actuals (project_id, actual_date)",
    )
