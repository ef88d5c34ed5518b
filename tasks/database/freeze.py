"""Vacuum and analyse a freshly loaded database, so that it is quick from its first query."""

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import connect_with, elsewhere, find_database, find_tables
from tasks.database.marks import Mark, read_mark, write_mark
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

_DONE = {"frozen", "kept", "undone"}
_SETTINGS = {
    "maintenance_work_mem": "256MB",
    "synchronous_commit": "off",
    "vacuum_cost_delay": "0",
    "statement_timeout": "0",
    "default_transaction_read_only": "off",
}


class FreezeCopy(Change):
    """VACUUM (FREEZE, ANALYZE) every table of the copy.

    Args:
        side: Name of the copy.
    """

    kind: ClassVar[str] = "database.freeze_copy"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)
    reverts: ClassVar[Reverts] = "pointless"

    needs: tuple[str, ...] = ("database.load_backup",)
    side: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"vacuum and analyse {self.side}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.side}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return "no statistics, rows not frozen", "statistics, rows frozen, visibility known"

    def observe(self, work: Work) -> Observed:
        """Read the mark of the copy."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            facts = find_database(session, self.side)
        mark = read_mark(facts.comment) if facts else None
        if mark is None or mark.remediation != work.remediation:
            return Observed(Standing.OTHER, f"there is no database {self.side} of ours")
        if mark.state in _DONE:
            return Observed(Standing.AFTER, f"{self.side} is {mark.state}")
        return Observed(Standing.BEFORE, f"{self.side} is {mark.state}")

    def apply(self, work: Work) -> None:
        """Vacuum two tables at a time."""
        database = targets.load(work.target).database
        with database.connect(self.side) as session:
            tables = find_tables(session)
        done = 0

        def vacuum(session: Connection, some: list[tuple[str, str]]) -> None:
            nonlocal done
            with session:
                for schema, name in some:
                    session.execute(
                        sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(sql.Identifier(schema, name))
                    )
                    done += 1
                    work.progress(done / (len(tables) + 1), f"{schema}.{name} is vacuumed")

        # Connected here: in the pool's threads they would not carry the fencing token.
        sessions = [connect_with(database, self.side, _SETTINGS) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(vacuum, sessions, (tables[::2], tables[1::2])))
        with database.connect(elsewhere(database)) as session:
            write_mark(
                session,
                self.side,
                Mark(work.remediation, "frozen"),
                f"copy of {database.name}, loaded and vacuumed; goes with an undo",
            )

    def revert(self, work: Work) -> None:
        """Leave it: it goes with the copy."""
