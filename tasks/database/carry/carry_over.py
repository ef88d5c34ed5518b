"""The change that carries rows over from a kept database, and takes them back."""

from typing import ClassVar

from tasks.database.carry.carrying import carry
from tasks.database.carry.journal import drop_journal, has_journal
from tasks.database.carry.kept_rows import Left
from tasks.database.carry.later_rows import compare_kept
from tasks.database.carry.marks import (
    KIND,
    CarryNote,
    forget_carried,
    note_carried,
    read_note,
    read_taken_back,
    read_taking_back,
)
from tasks.database.carry.row_moves import open_kept
from tasks.database.carry.sides import Sides, facts_of
from tasks.database.carry.undo import count_standing, take_back
from tasks.database.catalogue import DatabaseFacts, elsewhere, name_of
from tasks.database.copies.opening import OpenKeptDatabase
from tasks.guardrails import faults
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database

_NAMED = 20


class CarryRowsOver(Change):
    """Carry rows that are later than the backup over into the restored database.

    Args:
        sides: Both databases.
        tables: Rows that are new and rows that are changed, by 'schema.table', as planned.
    """

    kind: ClassVar[str] = KIND
    but: ClassVar[str] = ", but not what triggers wrote"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)

    needs: tuple[str, ...] = (OpenKeptDatabase.kind,)
    sides: Sides
    tables: dict[str, tuple[int, int]]

    @property
    def title(self) -> str:
        """What the change does."""
        rows = sum(map(sum, self.tables.values()))
        return f"carry {counted(rows, 'row')} over from {self.sides.kept} into {self.sides.live}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        tables = (f"table {one} of {self.sides.live}" for one in sorted(self.tables))
        return (f"database {self.sides.kept}", *tables)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        told = ", ".join(
            f"{table} {new} new, {changed} changed"
            for table, (new, changed) in sorted(self.tables.items())
        )
        return (
            f"rows that are later than the backup are only in {self.sides.kept}",
            f"{self.sides.live} has them too: {told}",
        )

    def observe(self, work: Work) -> Observed:
        """Read what the kept database's comment says, and what became of the transaction."""
        database, sides = targets.load(work.target).database, self.sides
        with database.connect(elsewhere(database)) as session:
            live, facts = name_of(session, sides.live_oid), facts_of(session, sides.kept_oid)
            note = read_note(facts.comment, work.remediation) if facts else None
            status = _status(session, note.xid) if note else ""
        if facts is None or facts.name != sides.kept or live != sides.live:
            return Observed(
                Standing.OTHER,
                f"OID {sides.live_oid} is {live or 'gone'}, "
                f"OID {sides.kept_oid} is {facts.name if facts else 'gone'}",
            )
        if note is None:
            return self._observe_without_note(database, facts, work)
        if note.is_done or status == "committed":
            return Observed(Standing.AFTER, self._proof(database, facts, note, work))
        if status:
            standing = Standing.UNDERWAY if status == "in progress" else Standing.HALF
            return Observed(standing, f"transaction {note.xid} is {status}")
        return self._observe_rows(database, facts, work)

    def _observe_rows(self, database: Database, facts: DatabaseFacts, work: Work) -> Observed:
        """Look at the rows: the server forgets transactions after many millions of them."""
        standing = self._standing(database, facts, work)
        if standing is None:
            return Observed(Standing.OTHER, "what became of the transaction is forgotten")
        return Observed(
            Standing.AFTER if standing else Standing.HALF, f"{standing} rows are as they landed"
        )

    def _observe_without_note(
        self, database: Database, facts: DatabaseFacts, work: Work
    ) -> Observed:
        if facts.allows_connections:
            with open_kept(database, self.sides.kept) as session:
                if has_journal(session, work.remediation):
                    return Observed(Standing.HALF, "a journal was begun, no row was carried over")
        return Observed(Standing.BEFORE, "no row was carried over")

    def _proof(self, database: Database, facts: DatabaseFacts, note: CarryNote, work: Work) -> str:
        """Say how many rows stand as they landed, by key and content, where it can be read."""
        said = f"{counted(note.rows, 'row')} carried over"
        standing = self._standing(database, facts, work)
        if standing is None:
            return said
        return f"{said}, {standing} of them in {self.sides.live} as they landed (key and content)"

    def _standing(self, database: Database, facts: DatabaseFacts, work: Work) -> int | None:
        """Count the rows that are as they landed; None where the journal cannot be read."""
        if not facts.allows_connections:
            return None
        with self.sides.opened(database) as sessions:
            if not has_journal(sessions.kept, work.remediation):
                return None
            return count_standing(sessions.kept, sessions.live, work.remediation)

    def apply(self, work: Work) -> str:
        """Compare once more, and carry over what fits in one transaction."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            facts = facts_of(session, self.sides.kept_oid)
        # It may have been carried over and taken back since it was planned.
        back = read_taken_back(facts.comment) if facts else ()
        sides = self.sides.model_copy(update={"back": back})
        compared = compare_kept(database, sides.source)
        with sides.opened(database) as sessions:
            forget_carried(sessions.beside, sides.kept_oid, work.remediation)
            done = carry(sessions, compared, sides.kept_oid, work.remediation)
            facts = facts_of(sessions.beside, sides.kept_oid)
            note = read_note(facts.comment, work.remediation) if facts else None
            if note:
                note_carried(sessions.beside, sides.kept_oid, work.remediation, note)
        text = f"{counted(done.rows, 'row')} landed"
        if done.raised:
            text += f"; {counted(done.raised, 'sequence')} set forward"
        return text + _tell_left(done.left, "not carried over")

    def revert(self, work: Work) -> str:
        """Take back what nobody has changed since, then the journal and the note of it."""
        seen = self.observe(work)
        if seen.standing in {Standing.BEFORE, Standing.OTHER}:
            return "no row to take back"
        database, sides, text = targets.load(work.target).database, self.sides, ""
        with sides.opened(database) as sessions:
            facts = facts_of(sessions.beside, sides.kept_oid)
            taking = read_taking_back(facts.comment, work.remediation) if facts else None
            if taking and _status(sessions.beside, taking) == "committed":
                text = "rows were taken back by a process that is gone"
            elif seen.standing is Standing.AFTER and has_journal(sessions.kept, work.remediation):
                deleted, changed, left = take_back(sessions, sides.kept_oid, work.remediation)
                text = f"{counted(deleted, 'row')} deleted again, {changed} as before"
                text += _tell_left(left, "left")
                faults.point(f"{KIND}:taken-back")
            drop_journal(sessions.kept, work.remediation)
            faults.point(f"{KIND}:journal-dropped")
            forget_carried(sessions.beside, sides.kept_oid, work.remediation)
        return text


def _tell_left(left: tuple[Left, ...], how: str) -> str:
    if not left:
        return ""
    named = "; ".join(f"{one.table} {one.key}: {one.why}" for one in left[:_NAMED])
    more = f"; and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return f"; {how}: {counted(len(left), 'row')} ({named}{more})"


def _status(session: Connection, xid: int) -> str:
    """Ask what became of a transaction; '' where the server has forgotten it."""
    row = session.execute("SELECT pg_xact_status(%s::text::xid8) AS is", (str(xid),)).fetchone()
    return str(row["is"] or "") if row else ""
