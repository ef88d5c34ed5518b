"""Columns that an index would have to have to serve a plan: read from what it filters by."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType
from pglast.parser import ParseError

from tasks.database.queries.plan_nodes import SEQUENTIAL, PlanNode
from tasks.database.queries.plan_problems import KEEPS_FEW, is_large, table_rows
from tasks.database.queries.plans import QueryPlan

_JOINED_BY = ("Hash Cond", "Merge Cond", "Join Filter")
_EQUAL, _RANGED = "=", {"<", "<=", ">", ">="}
# Casts that leave the index of a column usable: the bytes are the same.
_SAME_BYTES = {"text", "varchar", "bpchar"}
# Neither is SQL: a value that is not shown, and what another plan gives.
_VALUE = re.compile(r"(?<=[=<>~+\-*/|] )\?|(?<=[(\[,])\?|(?<=, )\?")
_SUBPLAN = re.compile(r"(?:hashed )?(?:SubPlan|InitPlan) \d+(?: \(returns [^)]*\))?")
_ROWS_OF_FEW = 1000


@dataclass(frozen=True)
class Wanted:
    """Columns of a table by which a plan looks for few of its rows.

    Args:
        schema_name: The table's schema.
        table: The table.
        equal: Columns that are compared by =.
        ranged: Columns that are compared by <, <=, > or >=.
    """

    schema_name: str
    table: str
    equal: tuple[str, ...]
    ranged: tuple[str, ...] = ()


@dataclass
class _Compared:
    """Columns of one alias in a condition, and the aliases that they are compared with."""

    equal: dict[str, set[str]] = field(default_factory=dict)
    ranged: dict[str, set[str]] = field(default_factory=dict)


def find_wanted(plan: QueryPlan) -> tuple[Wanted, ...]:
    """Find what a plan reads whole tables for, where an index might give it the few rows.

    Args:
        plan: The plan.

    Returns:
        What each sequential scan of a large table is filtered by where it keeps few rows, and
        what its rows are joined by where the other side is small. Columns in the plan's order.
    """
    found = [one for above, node in _scans(plan.root, ()) for one in _wanted(plan, above, node)]
    return tuple(dict.fromkeys(found))


def _scans(
    node: PlanNode, above: tuple[PlanNode, ...]
) -> Iterator[tuple[tuple[PlanNode, ...], PlanNode]]:
    if node.type == SEQUENTIAL:
        yield above, node
    for child in node.children:
        yield from _scans(child, (*above, node))


def _wanted(plan: QueryPlan, above: Sequence[PlanNode], node: PlanNode) -> Iterator[Wanted]:
    sizes = plan.sizes
    if not is_large(node, sizes):
        return
    few = max(KEEPS_FEW * table_rows(node, sizes), 1.0)
    compared = compared_columns(node.condition("Filter"), node.alias)
    if node.rows <= few and (compared.equal or compared.ranged):
        yield Wanted(node.schema_name, node.table, tuple(compared.equal), tuple(compared.ranged))
    for join in above:
        others = [child for child in join.children if not _holds(child, node)]
        for name in _JOINED_BY:
            joined = compared_columns(join.condition(name), node.alias)
            if joined.equal and any(other.rows <= min(few, _ROWS_OF_FEW) for other in others):
                yield Wanted(node.schema_name, node.table, tuple(joined.equal))


def _holds(node: PlanNode, wanted: PlanNode) -> bool:
    return any(one is wanted for one in node.walk())


def compared_columns(condition: str, alias: str) -> _Compared:
    """Read which columns of a table a condition compares with something else.

    Args:
        condition: The condition as EXPLAIN VERBOSE writes it, '' for none.
        alias: What it calls the table.

    Returns:
        The columns of the parts that all have to hold. What is compared through a function or
        a cast that changes the value is left out: an index of the column does not serve it.
    """
    found = _Compared()
    text = _VALUE.sub("$0", _SUBPLAN.sub("$0", condition))
    try:
        statement = parse_sql(f"SELECT WHERE {text}")[0].stmt if text else None
    except ParseError:
        return found
    for part in _parts(getattr(statement, "whereClause", None)):
        _note(part, alias, found)
    return found


def _parts(expression: object) -> Iterator[object]:
    if isinstance(expression, ast.BoolExpr) and expression.boolop == BoolExprType.AND_EXPR:
        for part in expression.args or ():
            yield from _parts(part)
    elif expression is not None:
        yield expression


def _note(part: object, alias: str, found: _Compared) -> None:
    if not isinstance(part, ast.A_Expr):
        return
    plain = part.kind == A_Expr_Kind.AEXPR_OP
    operator = str(getattr((part.name or ("",))[-1], "sval", ""))
    for own, other in ((part.lexpr, part.rexpr), (part.rexpr, part.lexpr)):
        column = _column(own)
        others = {one[0] for one in _columns(other)}
        if column is None or column[0] != alias or alias in others:
            continue
        is_list = part.kind == A_Expr_Kind.AEXPR_OP_ANY and own is part.lexpr
        if operator == _EQUAL and (plain or is_list):
            found.equal.setdefault(column[1], others)
        elif operator in _RANGED and plain:
            found.ranged.setdefault(column[1], others)


def _column(expression: object) -> tuple[str, str] | None:
    """Give alias and column of a bare column, also of one cast to another kind of text."""
    if isinstance(expression, ast.TypeCast):
        names = expression.typeName.names if expression.typeName else None
        if not names or getattr(names[-1], "sval", "") not in _SAME_BYTES:
            return None
        expression = expression.arg
    if not isinstance(expression, ast.ColumnRef):
        return None
    parts = [str(getattr(one, "sval", "")) for one in expression.fields or ()]
    return (parts[0], parts[1]) if len(parts) == 2 else None  # noqa: PLR2004 - alias and column


def _columns(expression: object) -> Iterator[tuple[str, str]]:
    """Find the columns anywhere in an expression."""
    if isinstance(expression, ast.ColumnRef):
        found = _column(expression)
        yield found or ("", "")
    elif isinstance(expression, ast.Node):
        for name in expression:
            yield from _columns(getattr(expression, name))
    elif isinstance(expression, tuple):
        for one in expression:
            yield from _columns(one)
