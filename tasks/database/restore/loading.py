"""Load a backup into a side database, and see that every row came over."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from tasks.database.backup.backups import Format
from tasks.database.backup.loaders import Load, load_archive, load_plain
from tasks.database.backup.manifest import checksum
from tasks.database.catalogue import NO_TIMEOUTS, connect_with, elsewhere, find_database
from tasks.database.copies.proof import count_rows
from tasks.database.copies.side_database import recreate_database
from tasks.database.marks import Mark, read_mark, write_mark
from tasks.database.restore.load_watch import watched
from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Database


class LoadBackup(Change):
    """Load a backup into the side database.

    Args:
        side: Name of the side database.
        backup: Name of the backup in the target's store.
        format: How pg_dump wrote it.
        compression: Around a plain file.
        sha256: Checksum of what was read when the plan was made.
        expected_bytes: Size that the loaded database will have, for the progress.
        leave_out: Settings at the head of its SQL that this server does not know.
        without: Entries of an archive that are left out.
        load_as: Role to load as, where the maintenance user is a superuser; else ''.
        tables: Rows by 'schema.table' that have to be there afterwards.
        jobs: Parallel jobs for archives.
        taken: When the backup was taken, UTC; None where nobody recorded it.
    """

    kind: ClassVar[str] = "database.load_backup"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner", "backups:read")
    reverts: ClassVar[Reverts] = "pointless"  # it goes with the side database

    needs: tuple[str, ...] = ("database.create_side_database",)
    side: str
    backup: str
    format: Format
    compression: str = ""
    sha256: str
    expected_bytes: int = 0
    leave_out: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    load_as: str = ""
    tables: dict[str, int] = Field(default_factory=dict)
    jobs: int = 2
    taken: datetime | None = None

    @property
    def title(self) -> str:
        """What the change does."""
        return f"load backup {self.backup} into {self.side}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.side}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.side} is empty", f"{self.side} holds {self.backup} ({self.sha256[:12]}…)"

    def observe(self, work: Work) -> Observed:
        """Read the mark of the side database, then look for what is in it."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            facts = find_database(session, self.side)
        mark = read_mark(facts.comment) if facts else None
        if facts is None or mark is None or mark.remediation != work.remediation:
            return Observed(Standing.OTHER, f"there is no database {self.side} of ours")
        if facts.half_dropped:
            return Observed(Standing.HALF, f"{self.side} is half-dropped")
        if mark.state != "created":
            return Observed(Standing.AFTER, f"{self.side} is {mark.state}")
        with database.connect(self.side) as session:
            row = session.execute(
                """SELECT (SELECT count(*) FROM pg_class WHERE oid >= 16384) AS made,
                     (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                      AND pid <> pg_backend_pid() AND backend_type = 'client backend') AS busy"""
            ).fetchone() or {"made": 0, "busy": 0}
        if row["made"] or row["busy"]:
            return Observed(
                Standing.HALF, f"{row['made']} relations are in {self.side}, the load has no end"
            )
        return Observed(Standing.BEFORE, f"{self.side} is empty")

    def apply(self, work: Work) -> None:
        """Load it; what an earlier attempt left is cleared first."""
        system = targets.load(work.target)
        database = system.database
        if self.observe(work).standing is Standing.HALF:
            recreate_database(database, self.side, work.remediation)
        with system.backups.local(self.backup) as path:
            if (now := checksum(path)) != self.sha256:
                raise WorldMoved(
                    expected=f"backup {self.backup} with checksum {self.sha256[:12]}…",
                    found=f"checksum {now[:12]}…: it was replaced since the plan was made.",
                    state="The live database is untouched; the side database is empty.",
                    todo="Run the remediation again, so that the backup is read again.",
                )
            with watched(database, self.side, self.expected_bytes, work):
                load = Load(self.side, self.load_as, self.leave_out, self.without, self.jobs)
                if self.format == "plain":
                    load_plain(database, path, self.compression, load)
                else:
                    load_archive(database, path, load)
        self._insist_on_rows(database)
        with database.connect(elsewhere(database)) as session:
            write_mark(
                session,
                self.side,
                Mark(work.remediation, "loaded"),
                f"copy of {database.name} from {self.backup}; goes with an undo",
            )

    def _insist_on_rows(self, database: Database) -> None:
        """Count before anything (a migration) may rightly change the counts."""
        with connect_with(database, self.side, NO_TIMEOUTS) as session:
            now = count_rows(session)
        wrong = [table for table, rows in sorted(self.tables.items()) if now.get(table) != rows]
        if wrong:
            raise PreconditionFailed(
                expected=f"every row of {self.backup} in {self.side}.",
                found=f"{wrong[0]} has {now.get(wrong[0], 'no')} rows instead of "
                f"{self.tables[wrong[0]]}; {len(wrong)} tables differ.",
                state="The live database is untouched; the copy goes with the undo.",
                todo="Choose another backup.",
            )
