"""Making an index while the application works on.

Source: PostgreSQL manual, CREATE INDEX, "Building Indexes Concurrently".
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from psycopg import sql

from tasks.database.giving_way import run_giving_way
from tasks.database.indexes.changes import (
    drop_concurrently,
    insist_that_nobody_builds,
    look_at_index_build,
)
from tasks.database.indexes.costs import costs_without, unjudged
from tasks.database.indexes.made import Made, find_made, write_comment
from tasks.database.indexes.statistics import find_covering
from tasks.database.marks import Mark, mark_text, read_mark
from tasks.guardrails.errors import WorldMoved
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database

_LONGEST = 63  # bytes of a name


def name_of_index(table: str, columns: tuple[str, ...], remediation: str, number: int) -> str:
    """Name an index that a remediation makes.

    Args:
        table: Its table.
        columns: Its columns.
        remediation: Id of the remediation.
        number: Which of the remediation's it is: shortened names may be equal.

    Returns:
        A name of at most 63 bytes that ends with the id and the number.
    """
    end = f"_{remediation}_{number}"
    start = f"ix_{table}_{'_'.join(columns)}".encode()[: _LONGEST - len(end)]
    return start.decode(errors="ignore") + end


class CreateIndex(Change):
    """Build an index beside what is in use.

    Args:
        schema_name: Schema of the table and the index.
        name: Name of the index: the remediation's id is in it.
        table: Name of the table.
        table_oid: Its OID.
        equal: Columns that queries compare by =.
        ranged: Columns behind them.
        why: What it is for, in words.
        queries: Queries whose cost without it is written into its comment, for its judge.
    """

    kind: ClassVar[str] = "database.create_index"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)

    schema_name: str
    name: str
    table: str
    table_oid: int
    equal: tuple[str, ...]
    ranged: tuple[str, ...] = ()
    why: str
    queries: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns in order."""
        return (*self.equal, *self.ranged)

    @property
    def on(self) -> str:
        """Table and columns, as people write them."""
        return f"{self.schema_name}.{self.table} ({', '.join(self.columns)})"

    @property
    def title(self) -> str:
        """What the change does."""
        return f"create index {self.name} on {self.on} concurrently"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"index {self.schema_name}.{self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"no index begins with {self.on}", f"{self.name} is valid, and says whose it is"

    @property
    def statement(self) -> sql.Composed:
        """The statement that builds it."""
        return sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} ({})").format(
            sql.Identifier(self.name),
            sql.Identifier(self.schema_name, self.table),
            sql.SQL(", ").join(map(sql.Identifier, self.columns)),
        )

    def observe(self, work: Work) -> Observed:
        """Look for it by its name, and for one of somebody else that serves as well."""
        with targets.load(work.target).database.connect() as session:
            made = find_made(session, self.schema_name, self.name)
            if made is not None:
                return self._observed(made, work)
            # Once begun, neither another index nor a table that is gone is a reason: an undo
            # has to end at `before`.
            if work.begun_at is not None:
                return Observed(Standing.BEFORE, f"there is no index {self.name}")
            if not self._has_table(session):
                return Observed(Standing.OTHER, f"the table of {self.on} is another one, or gone")
            covering = find_covering(session, self.table_oid, self.equal, self.ranged)
        if covering:
            return Observed(Standing.AFTER, f"{covering} serves the same: nothing is to be made")
        return Observed(Standing.BEFORE, f"there is no index {self.name}")

    def _observed(self, made: Made, work: Work) -> Observed:
        if not self._is_like(made):
            return Observed(Standing.OTHER, f"{self.name} is the name of another index")
        if not made.valid:
            return Observed(Standing.HALF, f"{self.name} was left invalid by a build of ours")
        mark = read_mark(made.comment)
        if mark is None or mark.remediation != work.remediation:
            return Observed(Standing.HALF, f"{self.name} is valid, and does not say whose it is")
        return Observed(Standing.AFTER, f"{self.name} is valid")

    def _is_like(self, made: Made) -> bool:
        return (made.table_oid, made.columns, made.plain) == (self.table_oid, self.columns, True)

    def _has_table(self, session: Connection) -> bool:
        row: dict[str, Any] | None = session.execute(
            """SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.oid = %s AND (n.nspname, c.relname) = (%s, %s)""",
            (self.table_oid, self.schema_name, self.table),
        ).fetchone()
        return row is not None

    def apply(self, work: Work) -> str:
        """Clear what an earlier attempt left, build it, and write into its comment whose it is.

        What its queries cost right before goes there too: what was measured at planning may be
        of other rows.

        Where somebody has made one meanwhile that serves the same it is built nevertheless: an
        error would take the remediation's other indexes down, and the judge drops what the
        planner does not use.

        Raises:
            Transient: Others queued behind the build: it was cancelled, and nothing is left.
            WorldMoved: Its table is gone, or another one has its name.
        """
        database = targets.load(work.target).database
        self._clear(database, work, only_invalid=True)
        with database.connect() as session:
            made = find_made(session, self.schema_name, self.name)
            has_table = self._has_table(session)
            without = costs_without(session, self.queries) if made is None and has_table else ()
        if made is None:
            if not has_table:
                raise WorldMoved(
                    expected=f"the table of {self.on} as it was when this was planned.",
                    found="it is gone, or another table has its name.",
                    state=f"There is no index {self.name}.",
                    todo="Run add_indexes again: it looks at the tables as they are now.",
                )
            insist_that_nobody_builds(database, self.schema_name, self.table)
            try:
                run_giving_way(database, self.statement, look_at_index_build, work, self.title)
            finally:
                self._clear(database, work, only_invalid=True)
        text = f"added {datetime.now(UTC):%Y-%m-%d} for {self.why}"
        mark = mark_text(Mark(work.remediation, "created"), unjudged(text, without))
        write_comment(database, self.schema_name, self.name, mark)
        return self._size(database)

    def revert(self, work: Work) -> None:
        """Drop it without locking anybody out, valid or not."""
        self._clear(targets.load(work.target).database, work, only_invalid=False)

    def _clear(self, database: Database, work: Work, *, only_invalid: bool) -> None:
        with database.connect() as session:
            made = find_made(session, self.schema_name, self.name)
        if made is None or not self._is_like(made) or (only_invalid and made.valid):
            return
        insist_that_nobody_builds(database, self.schema_name, self.table)
        drop_concurrently(database, self.schema_name, self.name, work)

    def _size(self, database: Database) -> str:
        with database.connect(lock_timeout="1s", statement_timeout="30s") as session:
            row = session.execute(
                """SELECT pg_relation_size(c.oid) AS size FROM pg_class c
                   JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE (n.nspname, c.relname) = (%s, %s)""",
                (self.schema_name, self.name),
            ).fetchone() or {"size": 0}
        return f"{row['size'] / 1e6:,.1f} MB"
