"""A plan of the planner as a tree of nodes, read from EXPLAIN (FORMAT JSON, VERBOSE).

Source: PostgreSQL manual 14.1 (using EXPLAIN).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.database.queries.normal_text import without_literals

SEQUENTIAL = "Seq Scan"
_CONDITIONS = (
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "One-Time Filter",
    "TID Cond",
)
# The leading process works on its share too, the less the more others there are (costsize.c).
_LEADER_BUSY = 0.3


class PlanNode(BaseModel):
    """A node of a plan.

    Args:
        type: Its type, as 'Seq Scan'.
        relation: What it is to its parent: 'Outer', 'Inner', 'SubPlan', ''.
        schema_name: Schema of the table that it reads, '' for none.
        table: The table that it reads, '' for none.
        alias: What conditions call that table.
        index: The index that it uses, '' for none.
        startup_cost: Cost until the first row, in the planner's units.
        total_cost: Cost until the last row, in the planner's units.
        rows: Rows that it gives each time it runs, estimated; of all processes together.
        width: Bytes of a row, estimated.
        conditions: What it keeps rows by: ('Filter', '(t.a = $1)'), without values.
        sort_key: What it sorts by.
        children: The nodes below it.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    relation: str = ""
    schema_name: str = ""
    table: str = ""
    alias: str = ""
    index: str = ""
    startup_cost: float
    total_cost: float
    rows: float
    width: int
    conditions: tuple[tuple[str, str], ...] = ()
    sort_key: tuple[str, ...] = ()
    children: tuple["PlanNode", ...] = ()

    @classmethod
    def read(cls, plan: Mapping[str, Any], processes: float = 1.0) -> "PlanNode":
        """Read a node and what is below it.

        Args:
            plan: The node as EXPLAIN writes it.
            processes: By how many processes its rows have to be multiplied.
        """
        workers = int(plan.get("Workers Planned", 0))
        below = processes
        if workers:
            below = workers + max(0.0, 1.0 - _LEADER_BUSY * workers)
        return cls(
            type=plan["Node Type"],
            relation=plan.get("Parent Relationship", ""),
            schema_name=plan.get("Schema", ""),
            table=plan.get("Relation Name", ""),
            alias=plan.get("Alias", ""),
            index=plan.get("Index Name", ""),
            startup_cost=float(plan["Startup Cost"]),
            total_cost=float(plan["Total Cost"]),
            rows=float(plan["Plan Rows"]) * processes,
            width=int(plan["Plan Width"]),
            conditions=tuple(
                (name, without_literals(str(plan[name]))) for name in _CONDITIONS if name in plan
            ),
            sort_key=tuple(without_literals(str(key)) for key in plan.get("Sort Key", ())),
            children=tuple(cls.read(child, below) for child in plan.get("Plans", ())),
        )

    @property
    def full_table(self) -> str:
        """Schema and table, '' for none."""
        return f"{self.schema_name}.{self.table}" if self.table else ""

    def condition(self, name: str) -> str:
        """Give a condition by its name, '' where it has none."""
        return dict(self.conditions).get(name, "")

    def walk(self) -> Iterator["PlanNode"]:
        """Go through this node and all below it, from top to bottom."""
        yield self
        for child in self.children:
            yield from child.walk()

    def lines(self, depth: int = 0) -> Iterator[str]:
        """Write it and what is below it, a line for each node and each condition."""
        of = f" using {self.index}" if self.index else ""
        on = f" on {self.full_table}" if self.table else ""
        named = f" {self.alias}" if self.table and self.alias != self.table else ""
        shift = "  " * depth
        yield (
            f"{shift}{self.type}{of}{on}{named}  (cost {self.startup_cost:,.2f} to "
            f"{self.total_cost:,.2f}, about {self.rows:,.0f} rows of {self.width} bytes)"
        )
        for name, text in self.conditions:
            yield f"{shift}    {name}: {text}"
        if self.sort_key:
            yield f"{shift}    Sort Key: {', '.join(self.sort_key)}"
        for child in self.children:
            yield from child.lines(depth + 1)


class TableSize(BaseModel):
    """How large a table that a plan reads is.

    Args:
        oid: Its OID.
        schema_name: Its schema.
        name: Its name.
        rows: Its rows, as statistics have them; -1 where nobody has counted.
        pages: Its pages now.
    """

    model_config = ConfigDict(frozen=True)

    oid: int
    schema_name: str
    name: str
    rows: float
    pages: int

    @property
    def full_name(self) -> str:
        """Schema and name."""
        return f"{self.schema_name}.{self.name}"
