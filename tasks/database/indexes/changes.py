"""Changes of indexes that lock nobody out: rebuild one, drop one that was left over.

Source: PostgreSQL manual, REINDEX, "Rebuilding Indexes Concurrently".
"""

from typing import ClassVar

from psycopg import sql

from tasks.database.giving_way import Underway, run_giving_way
from tasks.database.indexes.catalogue import Index, list_indexes
from tasks.guardrails.errors import Transient
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database


def look_at_index_build(session: Connection, pid: int) -> Underway | None:
    """Say how far a backend has come in building or dropping an index."""
    row = session.execute(
        """SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, lockers_total
           FROM pg_stat_progress_create_index WHERE pid = %s""",
        (pid,),
    ).fetchone()
    if row is None:
        return None
    total = row["blocks_total"] or row["tuples_total"]
    done = row["blocks_done"] if row["blocks_total"] else row["tuples_done"]
    waits = f", {row['lockers_total']} transactions to wait for" if row["lockers_total"] else ""
    return Underway(done / total if total else 0.0, f"{row['phase']}{waits}")


class _OfIndex(Change):
    """A change of one index."""

    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)
    reverts: ClassVar[Reverts] = "pointless"

    schema_name: str
    name: str
    table: str
    oid: int

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"index {self.schema_name}.{self.name}",)


class DropLeftOverIndex(_OfIndex):
    """Drop an invalid index that a concurrent rebuild has left.

    Args:
        schema_name: Its schema.
        name: Its name.
        table: Its table's name.
        oid: Its OID.
    """

    kind: ClassVar[str] = "database.drop_left_over_index"

    @property
    def title(self) -> str:
        """What the change does."""
        return f"drop the invalid index {self.schema_name}.{self.name}"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.name} on {self.table} is invalid: written to, used by no query", "it is gone"

    def observe(self, work: Work) -> Observed:
        """Look it up."""
        with targets.load(work.target).database.connect() as session:
            found = next((one for one in list_indexes(session) if one.oid == self.oid), None)
        if found is None or found.valid:  # whoever was building has ended it
            return Observed(Standing.AFTER, f"{self.name} is {'valid' if found else 'gone'}")
        if (found.schema_name, found.name) != (self.schema_name, self.name):
            return Observed(Standing.OTHER, f"it is {found.full_name} now")
        return Observed(Standing.BEFORE, f"{self.name} is there and invalid")

    def apply(self, work: Work) -> None:
        """Drop it without locking anybody out."""
        database = targets.load(work.target).database
        insist_that_nobody_builds(database, self.schema_name, self.table)
        drop_concurrently(database, self.schema_name, self.name, work)


def insist_that_nobody_builds(database: Database, schema: str, table: str) -> None:
    """Make sure that no build of somebody else is under way: one of both would end in a deadlock.

    Raises:
        Transient: One is.
    """
    with database.connect() as session:
        row = session.execute(
            """SELECT p.pid FROM pg_stat_progress_create_index p
                 JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE p.datname = current_database() AND (n.nspname, c.relname) = (%s, %s)""",
            (schema, table),
        ).fetchone()
    if row:
        raise Transient(
            expected=f"nobody else to build an index on {table}.",
            found=f"session {row['pid']} does.",
            todo="Wait until it has ended, then run again.",
        )


def drop_concurrently(database: Database, schema: str, name: str, work: Work) -> None:
    """Drop an index without locking anybody out; one that is gone is fine.

    Args:
        database: The database under care.
        schema: Its schema.
        name: Its name.
        work: Where progress is reported.
    """
    statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, name))
    run_giving_way(database, statement, look_at_index_build, work, f"drop index {name}")


class RebuildIndex(_OfIndex):
    """Build an index anew beside itself, and put it in its place.

    Args:
        schema_name: Its schema.
        name: Its name.
        table: Its table's name.
        oid: Its OID: the rebuilt one has another.
        definition: The statement that makes its like.
        why: What is wrong with it.
    """

    kind: ClassVar[str] = "database.rebuild_index"

    definition: str
    why: str

    @classmethod
    def of(cls, index: Index, why: str) -> "RebuildIndex":
        """Plan the rebuild of an index."""
        return cls(
            schema_name=index.schema_name,
            name=index.name,
            table=index.table,
            oid=index.oid,
            definition=index.definition,
            why=why,
        )

    @property
    def title(self) -> str:
        """What the change does."""
        return f"rebuild index {self.schema_name}.{self.name} concurrently"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.name} (OID {self.oid}): {self.why}", f"{self.name}, built anew"

    def observe(self, work: Work) -> Observed:
        """See which index has the name, and whether a rebuild has left anything."""
        with targets.load(work.target).database.connect() as session:
            indexes = list_indexes(session)
        found = self._found_among(indexes)
        left = self._left_among(indexes)
        if found is None:
            return Observed(Standing.OTHER, f"there is no index {self.schema_name}.{self.name}")
        if found.definition != self.definition:
            return Observed(Standing.OTHER, f"it is another one: {found.definition}")
        if left and work.begun_at is not None:
            return Observed(Standing.HALF, f"{left[0].name} was left by a rebuild that did not end")
        if found.oid == self.oid or not found.valid:
            return Observed(Standing.BEFORE, f"{self.name} has OID {found.oid}")
        return Observed(Standing.AFTER, f"{self.name} was built anew as OID {found.oid}")

    def apply(self, work: Work) -> str:
        """Clear what an earlier attempt left, then rebuild it; what is cancelled leaves nothing."""
        database = targets.load(work.target).database
        insist_that_nobody_builds(database, self.schema_name, self.table)
        self._clear(database, work)
        with database.connect() as session:
            was = self._found_among(list_indexes(session))
        if was is not None and (was.oid == self.oid or not was.valid):
            try:
                run_giving_way(
                    database,
                    sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(
                        sql.Identifier(self.schema_name, self.name)
                    ),
                    look_at_index_build,
                    work,
                    self.title,
                )
            finally:
                self._clear(database, work)
        with database.connect() as session:
            now = self._found_among(list_indexes(session))
        sizes = [f"{one.size / 1e6:.1f} MB" for one in (was, now) if one is not None]
        return f"size {' -> '.join(sizes)}"

    def revert(self, work: Work) -> None:
        """Clear what was left half done; an index that was built anew stays."""
        self._clear(targets.load(work.target).database, work)

    def _clear(self, database: Database, work: Work) -> None:
        with database.connect() as session:
            left = self._left_among(list_indexes(session))
        for one in left:
            drop_concurrently(database, one.schema_name, one.name, work)

    def _found_among(self, indexes: list[Index]) -> Index | None:
        mine = (self.schema_name, self.name)
        return next((one for one in indexes if (one.schema_name, one.name) == mine), None)

    def _left_among(self, indexes: list[Index]) -> list[Index]:
        """Give what rebuilds of this index left: like it but for the name, and not valid."""
        found = self._found_among(indexes)
        return [
            one
            for one in indexes
            if found is not None
            and one.is_left_over
            and one.table_oid == found.table_oid
            and _like(one) == _like(found)
        ]


def _like(index: Index) -> tuple[object, ...]:
    named = index.definition.partition(" ON ")[2]
    return (index.unique, index.method, index.keys, index.predicate, named)
