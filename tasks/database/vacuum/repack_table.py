"""Tables written anew beside themselves by pg_repack, which locks them for moments.

Source: pg_repack's manual, "Details" and "Diagnostics".
"""

from typing import ClassVar

from psycopg import sql

from tasks.database.vacuum.repack_remains import clear_remains, end_own_sessions, find_remains
from tasks.database.vacuum.repack_run import run_pg_repack
from tasks.database.vacuum.rewritable import find_file, measure_sizes
from tasks.database.vacuum.rewrite_full import RewriteTable
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Database

# What it says where it comes through another time.
_PASSING = ("timed out", "timeout", "Another pg_repack", "unsafe queries", "connect", "terminating")


class RepackTable(RewriteTable):
    """Write a table anew beside itself, carry over what is written meanwhile, and swap the files.

    Args:
        version: The version of pg_repack.
        as_owner: Whether the maintenance user is no superuser.
    """

    kind: ClassVar[str] = "database.repack_table"

    version: str
    as_owner: bool

    @property
    def title(self) -> str:
        """What the change does."""
        return f"write {self.full_name} anew beside itself (pg_repack {self.version})"

    def observe(self, work: Work) -> Observed:
        """See which file the table has, and whether a pg_repack has left anything."""
        seen = super().observe(work)
        if seen.standing is Standing.OTHER or work.begun_at is None:
            return seen
        with targets.load(work.target).database.connect() as session:
            left = [one for one in find_remains(session) if one.oid == self.oid]
        if left:
            return Observed(Standing.HALF, f"a pg_repack has left {', '.join(left[0].left)}")
        return seen

    def apply(self, work: Work) -> str:
        """Clear what an earlier attempt left, then let pg_repack do it; clear up behind it."""
        database = targets.load(work.target).database
        self._clear(database, work)
        with database.connect(lock_timeout="5s") as session:
            before = measure_sizes(session, self.oid)
        if self._is_done(database):
            return "it had been done; what was left beside it is cleared"
        said = ""
        try:
            said = run_pg_repack(
                database,
                sql.Identifier(self.schema_name, self.name),
                self.oid,
                self.version,
                work,
                as_owner=self.as_owner,
            )
        finally:
            self._clear(database, work)
        if not self._is_done(database):
            raise self._not_done(said)
        with database.connect(lock_timeout="5s") as session:
            after = measure_sizes(session, self.oid)
        return after.compared_to(before)

    def revert(self, work: Work) -> str:
        """Clear what was left half done; a table that was written anew stays."""
        self._clear(targets.load(work.target).database, work)
        return ""

    def _clear(self, database: Database, work: Work) -> None:
        end_own_sessions(database, work.target, self.oid)
        clear_remains(database, self.oid)

    def _is_done(self, database: Database) -> bool:
        with database.connect() as session:
            found = find_file(session, self.oid)
        return found is not None and found.file != self.file

    def _not_done(self, said: str) -> PreconditionFailed | Transient:
        kind = Transient if any(words in said for words in _PASSING) else PreconditionFailed
        return kind(
            expected=f"pg_repack to write {self.full_name} anew.",
            found=f"it did not: {said or 'it did not say why'}.",
            state="The table is as it was, nobody's session was ended, and what pg_repack had "
            "begun is cleared.",
            todo="Run it again when there is less traffic on the table, or remove what it names.",
        )
