"""What is wrong with a plan, in sentences; every number in them is the planner's estimate."""

from collections.abc import Iterator, Mapping

from tasks.database.queries.plan_nodes import SEQUENTIAL, PlanNode, TableSize

# A table of fewer pages (512 kB) is read faster as a whole than by an index.
FEW_PAGES = 64
KEEPS_FEW = 0.1
_MANY_RUNS = 10
_LARGE_OUTER = 10_000
_LARGE_RESULT = 10_000
_ROW_OVERHEAD = 24  # bytes that a sort keeps beside a row's own
# Rows are read once and kept: what is below is not read again for each outer row.
_KEEPERS = {"Materialize", "Memoize"}


def find_problems(root: PlanNode, sizes: Mapping[str, TableSize], work_mem: int) -> tuple[str, ...]:
    """Say what makes a plan slow.

    Args:
        root: The plan.
        sizes: The tables that it reads, by schema and name.
        work_mem: Bytes that a sort may take before it goes to disk.

    Returns:
        A sentence for each problem, from the top of the plan to its bottom.
    """
    found = [*_unlimited(root), *_spills(root, work_mem)]
    for node in root.walk():
        found += [*_scans(node, sizes), *_joins(node, sizes)]
        if node.type != "Limit":  # below one a sort keeps the first rows only
            found += [said for child in node.children for said in _spills(child, work_mem)]
    return tuple(dict.fromkeys(found))


def is_large(node: PlanNode, sizes: Mapping[str, TableSize]) -> bool:
    """Say whether a node reads a table that is large enough for an index to pay."""
    size = sizes.get(node.full_table)
    return size is not None and size.pages >= FEW_PAGES


def table_rows(node: PlanNode, sizes: Mapping[str, TableSize]) -> float:
    """Give the rows of the table that a node reads; at least those that it gives."""
    size = sizes.get(node.full_table)
    return max(node.rows, size.rows if size else 0.0, 1.0)


def _scans(node: PlanNode, sizes: Mapping[str, TableSize]) -> Iterator[str]:
    kept = node.condition("Filter")
    rows = table_rows(node, sizes)
    if node.type != SEQUENTIAL or not kept or not is_large(node, sizes):
        return
    if node.rows <= KEEPS_FEW * rows:
        pages = sizes[node.full_table].pages
        yield (
            f"It reads all of {node.full_table} ({rows:,.0f} rows, {pages * 8 / 1024:,.1f} MB) "
            f"and keeps about {node.rows:,.0f} of them, by {kept}: no index serves that."
        )


def _joins(node: PlanNode, sizes: Mapping[str, TableSize]) -> Iterator[str]:
    if node.type != "Nested Loop":
        return
    outer = next((child for child in node.children if child.relation == "Outer"), None)
    inner = next((child for child in node.children if child.relation == "Inner"), None)
    if outer is None or inner is None:
        return
    by = node.condition("Join Filter")
    for below in inner.walk():
        if below.type == SEQUENTIAL and outer.rows >= _MANY_RUNS and is_large(below, sizes):
            kept = " (kept in memory or on disk meanwhile)" if inner.type in _KEEPERS else ""
            yield (
                f"It joins {below.full_table} by going through all of it{kept} for each of about "
                f"{outer.rows:,.0f} rows{f', by {by}' if by else ''}: the inner side has no index."
            )
    if outer.rows >= _LARGE_OUTER:
        yield (
            f"A nested loop runs its inner side about {outer.rows:,.0f} times"
            f"{f' ({inner.full_table})' if inner.table else ''}."
        )


def _spills(node: PlanNode, work_mem: int) -> Iterator[str]:
    needed = node.rows * (node.width + _ROW_OVERHEAD)
    if node.type == "Sort" and needed > work_mem:
        yield (
            f"It sorts about {node.rows:,.0f} rows ({needed / 1e6:,.1f} MB) by "
            f"{', '.join(node.sort_key)}: more than work_mem ({work_mem / 1e6:,.1f} MB), so it "
            "goes to disk."
        )


def _unlimited(root: PlanNode) -> Iterator[str]:
    changes = any(node.type == "ModifyTable" for node in root.walk())
    if root.type != "Limit" and not changes and root.rows >= _LARGE_RESULT:
        yield (
            f"It gives about {root.rows:,.0f} rows to whoever asks, and has no LIMIT: read them "
            "in pages."
        )
