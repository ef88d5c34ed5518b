"""What a kept database's comment says of carried rows, and the order of tables."""

from psycopg import sql

from tasks.database.carry.marks import CarryNote, read_note
from tasks.database.carry.table_shapes import Reference, Shape, in_order
from tasks.database.copies.kept import _horizon
from tasks.database.copies.opening import open_for
from tasks.database.copies.written import swap_transaction
from tasks.database.marks import read_mark

KEPT = (
    "remedy aaaaaaaaaa kept: planner as it was until the cut-over; kept until 2026-12-03 10:00 "
    "UTC; swapped at xid 815"
)


def test_a_comment_is_read_with_all_that_was_added() -> None:
    """Whatever else it says, whose it is, until when, and the swap are read from it."""
    comment = f"{KEPT}; carried 12 rows over by bbbbbbbbbb at xid 4294968296"
    comment += "; carrying 3 rows over by cccccccccc at xid 7; open for remedy cccccccccc"
    mark = read_mark(comment)
    assert mark is not None
    assert (mark.remediation, mark.state) == ("aaaaaaaaaa", "kept")
    assert _horizon(comment) == _horizon(KEPT) is not None
    assert swap_transaction(comment) == 815
    assert read_note(comment, "bbbbbbbbbb") == CarryNote(is_done=True, rows=12, xid=4294968296)
    assert read_note(comment, "cccccccccc") == CarryNote(is_done=False, rows=3, xid=7)
    assert read_note(comment, "dddddddddd") is None
    assert open_for(comment) == "cccccccccc"
    assert open_for(KEPT) == ""


def shape(oid: int, name: str, *above: int) -> Shape:
    """Make a table of one column."""
    types = {"id": ("integer", False)}
    return Shape(
        oid, "public", name, ("id",), types, ("id",), frozenset({"id"}), (), frozenset(),
        versioned=False, above=above, writable=True,
    )  # fmt: skip


def reference(child: int, parent: int) -> Reference:
    """Make a foreign key."""
    table = sql.Identifier("t")
    return Reference("fk", child, parent, table, ("id",), ("id",), table)


def test_parents_come_first() -> None:
    """A partition stands for the table it is a part of; a table may point at itself."""
    shapes = [shape(1, "a"), shape(2, "b"), shape(3, "c", 9), shape(4, "d")]
    references = [reference(1, 2), reference(2, 9), reference(4, 4), reference(4, 1)]
    assert [one.name for one in in_order(shapes, references)] == ["c", "b", "a", "d"]


def test_a_circle_does_not_go_round_for_ever() -> None:
    """Tables that point at each other come each after one of its parents."""
    shapes = [shape(2, "b"), shape(1, "a"), shape(3, "c")]
    references = [reference(1, 2), reference(2, 3), reference(3, 2)]
    assert [one.name for one in in_order(shapes, references)] == ["b", "a", "c"]
