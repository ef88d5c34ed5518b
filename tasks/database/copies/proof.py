"""What is proved of a restored copy before anybody is asked to use it."""

from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import (
    NO_TIMEOUTS,
    connect_with,
    elsewhere,
    find_database,
    find_tables,
    name_of,
)
from tasks.database.indexes.amcheck_extension import have_amcheck
from tasks.database.marks import read_mark
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database

_SHOWN = 5


def count_rows(session: Connection) -> dict[str, int]:
    """Count the rows of every table by 'schema.table'."""
    counts = {}
    for schema, name in find_tables(session):
        row = session.execute(
            sql.SQL("SELECT count(*) AS n FROM ONLY {}").format(sql.Identifier(schema, name))
        ).fetchone()
        counts[f"{schema}.{name}"] = int(row["n"]) if row else 0
    return counts


def _loaded(database: Database, side: str) -> bool:
    with database.connect(elsewhere(database)) as session:
        facts = find_database(session, side)
    mark = read_mark(facts.comment) if facts else None
    return mark is not None and mark.state != "created"


def _not_there(side: str) -> Answer:
    return Answer(Verdict.NOT_ASKED, f"{side} is not loaded yet")


class CopyIsComplete(Check):
    """Every table of the backup is in the copy, with its rows.

    Args:
        side: Name of the copy.
        tables: Rows by 'schema.table', from the manifest or counted in the backup.
        counted_in: 'the manifest' or 'the backup'.
    """

    kind: ClassVar[str] = "database.copy_is_complete"

    side: str
    tables: dict[str, int]
    counted_in: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"{self.side} holds every row of the backup"

    def ask(self, work: Work) -> Answer:
        """Count the rows of all tables."""
        database = targets.load(work.target).database
        if not _loaded(database, self.side):
            return _not_there(self.side)
        with connect_with(database, self.side, NO_TIMEOUTS) as session:
            now = count_rows(session)
        wrong = [
            f"{table}: {now.get(table, 'missing')} instead of {rows}"
            for table, rows in sorted(self.tables.items())
            if now.get(table) != rows
        ]
        if wrong:
            more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            return Answer(Verdict.NOT_HELD, "; ".join(wrong[:_SHOWN]) + more)
        total = sum(self.tables.values())
        return Answer(
            Verdict.HELD,
            f"{counted(len(self.tables), 'table')}, {counted(total, 'row')}, as counted in "
            f"{self.counted_in}",
        )


class ConstraintsAreValid(Check):
    """No constraint and no index of the copy waits to be validated.

    Args:
        side: Name of the copy.
    """

    kind: ClassVar[str] = "database.constraints_are_valid"

    side: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"every constraint and index of {self.side} is valid"

    def ask(self, work: Work) -> Answer:
        """Look for those that are not in the catalogue; validate what is only not validated."""
        database = targets.load(work.target).database
        if not _loaded(database, self.side):
            return _not_there(self.side)
        with database.connect(self.side, default_transaction_read_only="off") as session:
            invalid = _invalid(session)
            total = session.execute("SELECT count(*) AS n FROM pg_constraint").fetchone() or {}
        if invalid:
            return Answer(Verdict.NOT_HELD, "; ".join(invalid[:_SHOWN]))
        return Answer(Verdict.HELD, f"{total['n']} constraints, none is invalid; no index either")


def _invalid(session: Connection) -> list[str]:
    rows = session.execute(
        """SELECT conname AS name, conrelid::regclass::text AS relation FROM pg_constraint c
           WHERE NOT convalidated
             -- What is NOT ENFORCED (PostgreSQL 18 and newer) is never validated.
             AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)
           UNION ALL
           SELECT indexrelid::regclass::text, indrelid::regclass::text FROM pg_index
           WHERE NOT indisvalid OR NOT indisready"""
    ).fetchall()
    return [f"{row['name']} of {row['relation']}" for row in rows]


class IndexesAreSound(Check):
    """amcheck finds no fault in the B-tree indexes of the copy.

    Args:
        side: Name of the copy.
    """

    kind: ClassVar[str] = "database.indexes_are_sound"

    side: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"the indexes of {self.side} are sound (amcheck)"

    def ask(self, work: Work) -> Answer:
        """Check each in a transaction that is rolled back, so that no extension stays behind."""
        database = targets.load(work.target).database
        if not _loaded(database, self.side):
            return _not_there(self.side)
        settings = {**NO_TIMEOUTS, "jit": "off"}
        with (
            connect_with(database, self.side, settings) as session,
            session.transaction(force_rollback=True),
        ):
            try:
                check = sql.SQL("SELECT {}(%s::oid::regclass)").format(
                    sql.Identifier(have_amcheck(session), "bt_index_check")
                )
            except PreconditionFailed as error:
                return Answer(Verdict.NOT_ASKED, f"amcheck cannot be used: {error.found}")
            rows = session.execute(
                """SELECT c.oid::bigint AS oid
                   FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
                   JOIN pg_am a ON a.oid = c.relam
                   WHERE a.amname = 'btree' AND c.oid >= 16384 AND c.relkind = 'i'
                     AND c.relpersistence <> 't' AND i.indisvalid"""
            ).fetchall()
            try:
                for row in rows:
                    session.execute(check, (row["oid"],))
            except RemediationError as error:
                return Answer(Verdict.NOT_HELD, error.found)
        return Answer(Verdict.HELD, f"checked {counted(len(rows), 'index', 'indexes')}")


class RestoredDatabaseIsLive(Check):
    """The restored database answers under live's name, table by table.

    Args:
        live: Name of the live database.
        side_oid: OID of the restored one.
        tables: Tables that have to be readable.
    """

    kind: ClassVar[str] = "database.restored_database_is_live"

    live: str
    side_oid: int
    tables: tuple[str, ...]

    @property
    def title(self) -> str:
        """The claim."""
        return f"{self.live} is the restored database, and every table of it can be read"

    def ask(self, work: Work) -> Answer:
        """Connect by name and read every table."""
        database = targets.load(work.target).database
        try:
            with connect_with(database, self.live, NO_TIMEOUTS) as session:
                if name_of(session, self.side_oid) != self.live:
                    return self._not_swapped(work)
                counts = count_rows(session)
        except RemediationError as error:
            return self._not_swapped(work) if self._is_to_come(work) else _not_held(error)
        if missing := sorted(set(self.tables) - set(counts)):
            return Answer(Verdict.NOT_HELD, f"missing: {', '.join(missing[:_SHOWN])}")
        tables, rows = counted(len(counts), "table"), counted(sum(counts.values()), "row")
        return Answer(Verdict.HELD, f"read {tables}, {rows}")

    def _is_to_come(self, work: Work) -> bool:
        """Say whether the restored database has another name than live's."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            return name_of(session, self.side_oid) != self.live

    def _not_swapped(self, work: Work) -> Answer:
        """Before the swap nothing can be said about afterwards."""
        if self._is_to_come(work):
            return Answer(Verdict.NOT_ASKED, f"{self.live} is not the restored database")
        return Answer(Verdict.NOT_HELD, f"{self.live} is another database")


def _not_held(error: RemediationError) -> Answer:
    return Answer(Verdict.NOT_HELD, error.found)
