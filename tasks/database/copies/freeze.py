"""Vacuum and analyse a freshly loaded database, so that it is quick from its first query."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
_LARGEST_FIRST = """
    SELECT n.nspname AS schema, c.relname AS name, pg_table_size(c.oid) AS size
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'"""


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
        """Vacuum two tables at a time, the largest first."""
        database = targets.load(work.target).database
        with database.connect(self.side) as session:
            rows = session.execute(_LARGEST_FIRST).fetchall()
            sizes = {(row["schema"], row["name"]): row["size"] for row in rows}
            tables = sorted(find_tables(session), key=lambda one: -sizes.get(one, 0))
        waiting = deque(tables)

        def vacuum(session: Connection) -> None:
            with session, suppress(IndexError):  # nothing waits any more
                while True:
                    schema, name = waiting.popleft()
                    session.execute(
                        sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(sql.Identifier(schema, name))
                    )
                    done = (len(tables) - len(waiting)) / (len(tables) + 2)
                    work.progress(done, f"{schema}.{name} is vacuumed")

        # Connected here: in the pool's threads they would not carry the fencing token.
        sessions = [connect_with(database, self.side, _SETTINGS) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(vacuum, sessions))
        with database.connect(elsewhere(database)) as session:
            write_mark(
                session,
                self.side,
                Mark(work.remediation, "frozen"),
                f"copy of {database.name}, loaded and vacuumed; goes with an undo",
            )
