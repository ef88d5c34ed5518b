"""Rows of a kept database, as they are told apart from those of the restored one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from tasks.database.carry.table_shapes import Shape

CHANGED_IN_BOTH = "changed in both: it was written in live since the restore, too"


# A table, and keys of rows of it that may be another row in live than in the kept database.
Uncertain = tuple[Shape, tuple[str, ...]]


@dataclass(frozen=True)
class Source:
    """A kept database and the live one that was restored in its place.

    Args:
        live: Name of the live database.
        kept: Name of the kept one, open for us.
        xid: The transaction of the swap, as a number of 32 bits.
        back: Transactions that took carried rows back: what they wrote is as it was restored.
        rows: Rows of the restored database at the swap, by 'schema.table'.
        taken: When the backup was taken, UTC; None where nobody knows.
        revision_table: Name of the table with the schema's revision: a row more would be a
            second revision.
    """

    live: str
    kept: str
    xid: int
    back: tuple[int, ...]
    rows: Mapping[str, int]
    taken: datetime | None
    revision_table: str = ""


@dataclass(frozen=True)
class Left:
    """A row that is not carried over.

    Args:
        table: 'schema.table'.
        key: Its primary key.
        why: Why not.
    """

    table: str
    key: str
    why: str


@dataclass(frozen=True)
class Later:
    """What of a table is later than the backup.

    Args:
        shape: The table in live.
        new: Keys of rows that live does not have.
        changed: Keys of rows of which live has the backup's version.
        left: Rows that differ and are for a person to decide.
        gone: Rows of the backup that the kept database does not have: deleted after it.
        uncertain: Keys of rows changed in both that were not made at one moment: they may be
            two rows of one key.
    """

    shape: Shape
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()
    gone: int = 0
    uncertain: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """All tables of both.

    Args:
        tables: Those that differ.
        unread: Why a table was not compared, by 'schema.table'.
    """

    tables: tuple[Later, ...]
    unread: Mapping[str, str]

    @property
    def uncertain(self) -> list[Uncertain]:
        """Rows of live to which nothing may be attached, by table."""
        return [(one.shape, one.uncertain) for one in self.tables if one.uncertain]

    @property
    def rows(self) -> int:
        """How many rows are to be carried over, before their constraints are looked at."""
        return sum(len(one.new) + len(one.changed) for one in self.tables)


def is_newer(alias: str, swapped: int, back: Sequence[int]) -> sql.Composed:
    """Write the condition that a row of live was written since the restore.

    Args:
        alias: Of the table.
        swapped: The transaction of the swap.
        back: Transactions that took carried rows back.

    Returns:
        The condition, over the transaction that wrote the row.
    """
    return sql.SQL("(age({xmin}) < age({swap}::xid) AND NOT {xmin}::text = ANY ({back}))").format(
        xmin=sql.Identifier(alias, "xmin"),
        swap=str(swapped),
        back=[str(one) for one in back],
    )
