"""The two databases between which rows are carried over, and sessions in both."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from tasks.database.carry.kept_rows import Source
from tasks.database.carry.row_moves import open_kept, open_live
from tasks.database.catalogue import DatabaseFacts, elsewhere, find_database, name_of
from tasks.platforms.protocols import Connection, Database


@dataclass(frozen=True)
class Sessions:
    """The three sessions that carrying over needs.

    Args:
        kept: In the kept database.
        live: In live.
        beside: In neither of both, for the comment.
        swapped: The transaction of the swap: rows of live that are newer stay.
        back: Transactions that took carried rows back.
    """

    kept: Connection
    live: Connection
    beside: Connection
    swapped: int
    back: tuple[int, ...]


class Sides(BaseModel):
    """The kept database and the live one that was restored in its place.

    Args:
        live: Name of the live database.
        live_oid: Its OID.
        owner: Its owner, as whom rows are written.
        kept: Name of the kept database.
        kept_oid: Its OID.
        swapped: The transaction of the swap.
        back: Transactions that took carried rows back.
        rows: Rows of the restored database at the swap, by 'schema.table'.
        taken: When the backup was taken, UTC; None where nobody knows.
        revision_table: Name of the table with the schema's revision, which is left alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: str
    live_oid: int
    owner: str
    kept: str
    kept_oid: int
    swapped: int
    back: tuple[int, ...] = ()
    rows: dict[str, int]
    taken: datetime | None = None
    revision_table: str = ""

    @property
    def source(self) -> Source:
        """What a comparison needs."""
        return Source(
            self.live,
            self.kept,
            self.swapped,
            self.back,
            self.rows,
            self.taken,
            self.revision_table,
        )

    @contextmanager
    def opened(self, database: Database) -> Iterator[Sessions]:
        """Give sessions in both, and one beside."""
        with ExitStack() as stack:
            yield Sessions(
                kept=stack.enter_context(open_kept(database, self.kept)),
                live=stack.enter_context(open_live(database, self.live, self.owner)),
                beside=stack.enter_context(database.connect(elsewhere(database))),
                swapped=self.swapped,
                back=self.back,
            )


def facts_of(session: Connection, oid: int) -> DatabaseFacts | None:
    """Look a database up by its OID; None where it is gone."""
    name = name_of(session, oid)
    return find_database(session, name) if name else None
