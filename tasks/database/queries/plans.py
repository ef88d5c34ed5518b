"""Plans of queries, read without carrying the queries out.

Source: PostgreSQL manual, EXPLAIN, PREPARE ("Notes"), 20.7.4 (plan_cache_mode).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
from pydantic import BaseModel, ConfigDict

from tasks.database.queries.normal_text import without_literals
from tasks.database.queries.plan_errors import say_without_values
from tasks.database.queries.plan_nodes import PlanNode, TableSize
from tasks.database.queries.plan_problems import find_problems
from tasks.guardrails.errors import BadInput, RemediationError
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection

# An outage of ours is worse than no plan: planning is short, and waits for nobody.
TIMEOUTS = {"statement_timeout": "10s", "lock_timeout": "1s"}
_NAME = "remedy_plan"
_PREPARE = f"PREPARE {_NAME} AS "
_GENERIC_PLAN_SINCE = 160000
_MISSING_RIGHT = "42501"
# What the statement itself is at fault for: its values, its text, what it names, its size.
_FAULTS = ("0A", "21", "22", "3F", "42", "54")


class QueryPlan(BaseModel):
    """The plan of a query, with the planner's estimates.

    Args:
        statement: The query without its values.
        generic: Whether it has parameters ($1): then it was planned for any values.
        root: The plan's topmost node.
        tables: The tables that it reads or writes.
        work_mem: Bytes that a sort may take before it goes to disk.
    """

    model_config = ConfigDict(frozen=True)

    statement: str
    generic: bool
    root: PlanNode
    tables: tuple[TableSize, ...]
    work_mem: int

    @property
    def total_cost(self) -> float:
        """Cost until the last row, in the planner's units (1 is a page read in order)."""
        return self.root.total_cost

    @property
    def rows(self) -> float:
        """Rows that it gives, estimated."""
        return self.root.rows

    @property
    def sizes(self) -> dict[str, TableSize]:
        """The tables by schema and name."""
        return {one.full_name: one for one in self.tables}

    @property
    def nodes(self) -> tuple[PlanNode, ...]:
        """All nodes from top to bottom."""
        return tuple(self.root.walk())

    @property
    def text(self) -> str:
        """The plan as indented lines, without values."""
        return "\n".join(self.root.lines())

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with it, a sentence each; nothing where nothing is."""
        return find_problems(self.root, self.sizes, self.work_mem)

    def uses(self, index: str) -> bool:
        """Say whether a node reads an index of that name."""
        return any(node.index == index for node in self.nodes)


def explain(session: Connection, statement: str) -> QueryPlan:
    """Read the plan of a query; the query is not carried out.

    The server itself decides what is taken: PREPARE by the extended protocol takes exactly one
    statement, and only SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, WITH or TABLE. A query with
    parameters is planned for any values: by GENERIC_PLAN since PostgreSQL 16, before it by a
    forced generic plan of the prepared statement (of a partitioned table that one shows only
    partitions that a null would be in).

    The planner evaluates functions that are said to be IMMUTABLE or STABLE, whatever they
    really do. So it plans in a READ ONLY transaction, which is rolled back, with the rights of
    the maintenance user and no more; what a function of somebody else does outside of the
    database with those rights is not held back by that. Tables are locked as by the query, for
    the moment of planning.

    Args:
        session: A session in the database; nothing of it differs afterwards.
        statement: The statement, with or without parameters.

    Returns:
        Its plan.

    Raises:
        BadInput: It is no statement of those kinds, more than one, or names what is not there.
        PreconditionFailed: The maintenance user may not read what it names.
        Transient: A table was locked, or planning took more than ten seconds.
    """
    if "\x00" in statement:
        raise _unusable("it holds a character that no statement can hold")
    try:
        with _prepared(session, statement) as parameters:
            plan = _plan(session, statement, parameters)
            return QueryPlan(
                statement=without_literals(statement),
                generic=parameters > 0,
                root=PlanNode.read(plan),
                tables=_sizes(session, plan),
                work_mem=_work_mem(session),
            )
    except (RemediationError, psycopg.Error) as error:
        code, said = sqlstate(error), say_without_values(error, statement, len(_PREPARE))
        if said and code.startswith(_FAULTS) and code != _MISSING_RIGHT:
            raise _unusable(f"the server says: {said}") from None  # it quotes the statement
        if not said or not isinstance(error, RemediationError):
            raise
        raise type(error)(
            expected=error.expected,
            found=f"{said} (SQLSTATE {code}).",
            state=error.state,
            todo=error.todo,
        ) from None


def _unusable(why: str) -> BadInput:
    return BadInput(
        expected="one statement of the kinds SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, WITH "
        "or TABLE, which this database knows.",
        found=f"{why}.",
        state="Nothing was carried out.",
        todo="Give one statement, as the application sends it; values may be written as $1, $2.",
    )


@contextlib.contextmanager
def _prepared(session: Connection, statement: str) -> Iterator[int]:
    """Have a statement prepared in a read-only transaction; gives how many parameters it has."""
    _forget(session)  # of an earlier one whose connection broke in between
    try:
        with session.transaction(force_rollback=True):
            session.execute("SET TRANSACTION READ ONLY")
            for setting, value in {**TIMEOUTS, "plan_cache_mode": "force_generic_plan"}.items():
                session.execute("SELECT set_config(%s, %s, true)", (setting, value))
            # Binary results come by the extended protocol, which takes one statement only.
            session.execute(f"{_PREPARE}{statement}".encode(), binary=True)
            row = session.execute(
                "SELECT cardinality(parameter_types) AS many FROM pg_prepared_statements "
                "WHERE name = %s",
                (_NAME,),
            ).fetchone()
            yield int(row["many"]) if row else 0
    finally:
        if not session.closed:
            _forget(session)


def _forget(session: Connection) -> None:
    """Deallocate: what is prepared outlives its transaction."""
    row = session.execute("SELECT FROM pg_prepared_statements WHERE name = %s", (_NAME,)).fetchone()
    if row is not None:
        session.execute(f"DEALLOCATE {_NAME}".encode())


def _plan(session: Connection, statement: str, parameters: int) -> dict[str, Any]:
    options = "FORMAT JSON, VERBOSE"
    if not parameters:
        query, by_extended = f"EXPLAIN ({options}) {statement}", True
    elif session.info.server_version >= _GENERIC_PLAN_SINCE:
        # By the extended protocol its parameters would have to be given; PREPARE has seen
        # already that it is one statement.
        query, by_extended = f"EXPLAIN (GENERIC_PLAN, {options}) {statement}", False
    else:
        nulls = ", ".join(["NULL"] * parameters)
        query, by_extended = f"EXPLAIN ({options}) EXECUTE {_NAME} ({nulls})", True
    row = session.execute(query.encode(), binary=by_extended).fetchone() or {}
    plan: dict[str, Any] = row["QUERY PLAN"][0]["Plan"]
    return plan


def _sizes(session: Connection, plan: dict[str, Any]) -> tuple[TableSize, ...]:
    names = {(node.schema_name, node.table) for node in PlanNode.read(plan).walk() if node.table}
    rows = session.execute(
        """SELECT c.oid::bigint AS oid, n.nspname AS schema_name, c.relname AS name,
             (CASE WHEN c.reltuples > 0 THEN c.reltuples ELSE coalesce(s.n_live_tup, -1) END)::float
               AS rows,
             (coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::int)::int
               AS pages
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN unnest(%s::text[], %s::text[]) AS w(schema, name)
               ON (n.nspname, c.relname) = (w.schema, w.name)
             LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
           ORDER BY 2, 3""",
        ([schema for schema, _ in names], [name for _, name in names]),
    ).fetchall()
    return tuple(TableSize(**row) for row in rows)


def _work_mem(session: Connection) -> int:
    row = session.execute(
        "SELECT setting::bigint * 1024 AS bytes FROM pg_settings WHERE name = 'work_mem'"
    ).fetchone() or {"bytes": 0}
    return int(row["bytes"])
