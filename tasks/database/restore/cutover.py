"""The cut-over: the copy takes the live database's name in one transaction."""

from datetime import datetime
from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import elsewhere, find_database, name_of
from tasks.database.copies.left_behind import allow_connections, allowing, describe_left_behind
from tasks.database.copies.opening import open_for
from tasks.database.copies.rows_lost import ROWS_LOST
from tasks.database.copies.written import count_written, loss_of
from tasks.database.marks import Mark, comment_on, horizon_text, mark_text
from tasks.database.restore.swapping import rename, swap
from tasks.database.sequences import raise_sequences, read_sequences
from tasks.guardrails import faults
from tasks.guardrails.errors import UndoFailed
from tasks.guardrails.plan import Change, Loss, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Database


class SwapDatabases(Change):
    """Rename live to a kept name and the copy to live, in one transaction.

    Args:
        live: Name of the live database.
        live_oid: OID of the database that has that name before.
        side: Name of the copy.
        side_oid: OID of the copy, which has live's name after.
        kept: Name that the old database is kept under.
        undone: Name that the copy gets when this is undone.
        kept_until: Until when the old database is kept.
        rows: Rows of the copy by 'schema.table', from which writes are counted later.
        rows_lost: Rows of the old database that the copy has not, as approved.
        comment: The live database's own comment.
        compared_at: The oldest transaction that was open when both were compared.
    """

    kind: ClassVar[str] = "database.swap_databases"
    permissions: ClassVar[tuple[str, ...]] = (
        "postgresql:CREATEDB",
        "postgresql:MEMBER OF owner",
        "postgresql:pg_signal_backend",
    )

    live: str
    live_oid: int
    side: str
    side_oid: int
    kept: str
    undone: str
    kept_until: datetime
    rows: dict[str, int]
    rows_lost: int
    comment: str = ""
    compared_at: int | None = None

    @property
    def title(self) -> str:
        """What the change does."""
        return f"swap {self.live} with {self.side}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return tuple(f"database {name}" for name in (self.live, self.side, self.kept))

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return (
            f"{self.live} is OID {self.live_oid}, {self.side} is OID {self.side_oid}",
            (
                f"{self.live} is OID {self.side_oid}; OID {self.live_oid} is {self.kept}, "
                f"closed, {horizon_text(self.kept_until)}"
            ),
        )

    def observe(self, work: Work) -> Observed:
        """Look up which name each of the two databases has."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            old, new = name_of(session, self.live_oid), name_of(session, self.side_oid)
            kept = find_database(session, self.kept)
        seen = f"OID {self.live_oid} is {old or 'gone'}, OID {self.side_oid} is {new or 'gone'}"
        if old == self.live and new in {self.side, self.undone}:
            return Observed(Standing.BEFORE, seen)
        if kept is not None and (by := open_for(kept.comment)):
            return Observed(Standing.OTHER, f"{seen}, which is open for remediation {by}")
        if old == self.kept and new == self.live:
            if kept is not None and kept.allows_connections:
                return Observed(Standing.HALF, f"{seen}, which is open")
            return Observed(Standing.AFTER, f"{seen}, closed")
        return Observed(Standing.OTHER, seen)

    def apply(self, work: Work) -> str:
        """Swap; sessions in live end, and are held at the door for the time of it."""
        system = targets.load(work.target)
        database = system.database
        with database.connect(elsewhere(database)) as session:
            present = name_of(session, self.side_oid)
            if present == self.live:  # a process died before it had counted what was left behind
                allow_connections(session, self.kept, allow=False)
                return self._left_behind(database) or "swapped before"
        with database.connect(self.live) as there, database.connect(present) as here:
            raise_sequences(here, read_sequences(there))
        mark = Mark(work.remediation, "kept")
        horizon = horizon_text(self.kept_until)

        def steps(xid: int) -> list[sql.Composed]:
            text = f"{self.live} as it was until the cut-over; {horizon}; swapped at xid {xid}"
            # Closed once it is counted: open, it says that this is still to be done.
            closed = self.compared_at is None
            return [
                rename(self.live, self.kept),
                rename(present, self.live),
                comment_on(self.live, self.comment),
                comment_on(self.kept, mark_text(mark, text)),
                allowing(self.kept, allow=not closed),
            ]

        seconds = swap(system, self.live_oid, self.side_oid, steps)
        faults.point("database.swap_databases:swapped")
        left = self._left_behind(database)
        return f"{self.live} was out of reach for {seconds * 1000:.0f} ms" + (left and f"; {left}")

    def _left_behind(self, database: Database) -> str:
        if self.compared_at is None:
            return ""
        return describe_left_behind(database, self.kept, self.compared_at)

    def revert(self, work: Work) -> str:
        """Swap back; what was the copy is kept under a name of its own."""
        seen = self.observe(work)
        if seen.standing is Standing.BEFORE:
            return "nothing to swap back"
        if seen.standing is Standing.OTHER:  # the names are others' now
            raise UndoFailed(
                expected=f"{self.live} to be OID {self.side_oid}, and {self.kept} {self.live_oid}.",
                found=f"{seen.detail}.",
                state="Nothing was renamed.",
                todo="Find out which database is which before anything is renamed by hand.",
            )
        mark = Mark(work.remediation, "undone")
        text = f"{self.live} from the cut-over to its undo; {horizon_text(self.kept_until)}"

        def steps(_xid: int) -> list[sql.Composed]:
            return [
                rename(self.live, self.undone),
                rename(self.kept, self.live),
                comment_on(self.live, self.comment),
                comment_on(self.undone, mark_text(mark, text)),
                allowing(self.undone, allow=False),
                allowing(self.live, allow=True),
            ]

        seconds = swap(targets.load(work.target), self.side_oid, self.live_oid, steps)
        return f"{self.live} was out of reach for {seconds * 1000:.0f} ms"

    def undo_loss(self, work: Work) -> Loss | None:
        """Count what others than our probe wrote since the cut-over."""
        system = targets.load(work.target)
        database = system.database
        with database.connect(elsewhere(database)) as session:
            kept = find_database(session, self.kept)
            if kept is None or name_of(session, self.side_oid) != self.live:
                return None
        probe = system.probe_account
        written = count_written(database, kept.comment, self.rows, probe, work.remediation)
        return loss_of(written, int(work.measured.get(ROWS_LOST, self.rows_lost)))
