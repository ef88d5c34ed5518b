"""What is measured before rows are carried over, and what is asked afterwards."""

from typing import ClassVar

from psycopg import sql

from tasks.database.carry.later_rows import compare_kept
from tasks.database.carry.marks import read_note
from tasks.database.carry.sides import Sides, facts_of
from tasks.database.catalogue import elsewhere
from tasks.guardrails.plan import Answer, Check, Limit, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets


class RowsCarriedOver(Limit):
    """Rows that are later than the backup, before live's constraints are looked at.

    Args:
        sides: Both databases.
    """

    kind: ClassVar[str] = "database.rows_carried_over"

    sides: Sides

    @property
    def title(self) -> str:
        """What is limited."""
        return "rows carried over"

    def measure(self, work: Work) -> float:
        """Compare both databases."""
        return compare_kept(targets.load(work.target).database, self.sides.source).rows


class CarriedRowsAreThere(Check):
    """Live has the rows of the transaction that carried them over.

    Args:
        sides: Both databases.
        tables: The tables that got rows: schema and name.
    """

    kind: ClassVar[str] = "database.carried_rows_are_there"

    sides: Sides
    tables: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The claim."""
        return f"{self.sides.live} has the rows that were carried over"

    def ask(self, work: Work) -> Answer:
        """Count the rows that carry the number of that transaction."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            facts = facts_of(session, self.sides.kept_oid)
        note = read_note(facts.comment, work.remediation) if facts else None
        if note is None:
            return Answer(Verdict.NOT_ASKED, "no row was carried over")
        mine = newer = 0
        with database.connect(self.sides.live) as session:
            for table in self.tables:
                row = session.execute(
                    sql.SQL(
                        "SELECT count(*) FILTER (WHERE xmin = {xid}::xid) AS mine, count(*) FILTER "
                        "(WHERE age(xmin) < age({xid}::xid)) AS newer FROM ONLY {table}"
                    ).format(xid=str(note.xid % 2**32), table=sql.Identifier(*table))
                ).fetchone() or {"mine": 0, "newer": 0}
                mine, newer = mine + row["mine"], newer + row["newer"]
        told = f"{mine} of {counted(note.rows, 'row')}, written by transaction {note.xid}"
        if mine >= note.rows:
            return Answer(Verdict.HELD, told)
        if note.rows - mine <= newer:
            return Answer(Verdict.HELD, f"{told}; the others were changed by others since")
        return Answer(Verdict.NOT_ASKED, f"{told}; the others were changed or deleted since")
