"""Dead and old rows: where they are, and removing or freezing them.

Source: PostgreSQL manual 25.1 (routine vacuuming), VACUUM.
"""

import time
from typing import ClassVar

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.giving_way import Underway, run_giving_way
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

# Rests now and then, as users read from the same disk.
_GENTLY = {"vacuum_cost_delay": "1ms", "vacuum_cost_limit": "2000"}
_TOLD_WITHIN_SECONDS = 10.0
_WHOLE = {"vacuum_freeze_table_age": "0", "vacuum_multixact_freeze_table_age": "0"}
_LOOSE_SHARE, _LOOSE_BYTES = 0.5, 50_000_000
_MAINTAIN_SINCE = 170000


class Table(BaseModel):
    """A table as its statistics have it.

    Args:
        oid: Its OID.
        schema_name: Its schema.
        name: Its name.
        size: Bytes of the table without indexes.
        live: Rows, about.
        dead: Dead rows, about.
        age: Transactions since its oldest row was frozen, or that of its TOAST table.
        multi_age: The same in multixacts: of rows that several transactions locked together.
        content: Bytes of a file of its rows alone, estimated; 0 where nothing is known.
        by_hand: When it was vacuumed by hand last, exactly; '' for never.
        vacuumed: When it was vacuumed last, by hand or by itself; '' for never.
        ours: Whether the maintenance user may vacuum it.
    """

    model_config = ConfigDict(frozen=True)

    oid: int
    schema_name: str
    name: str
    size: int
    live: int
    dead: int
    age: int
    multi_age: int
    content: int
    by_hand: str
    vacuumed: str
    ours: bool

    @property
    def full_name(self) -> str:
        """Schema and name."""
        return f"{self.schema_name}.{self.name}"

    @property
    def is_loose(self) -> bool:
        """Whether its file is much larger than its rows."""
        return bool(self.content) and is_loose(self.size, self.content)


def is_loose(size: int, content: int) -> bool:
    """Say whether a file is so much larger than its rows that writing it anew is worth it.

    Args:
        size: Its bytes.
        content: Bytes of a file of its rows alone.
    """
    return size - content > max(_LOOSE_BYTES, _LOOSE_SHARE * size)


def list_tables(session: Connection) -> list[Table]:
    """List the tables of a database with what their statistics say, the most dead rows first.

    Args:
        session: A session in the database.
    """
    new = session.info.server_version >= _MAINTAIN_SINCE
    maintains = "has_table_privilege(c.oid, 'MAINTAIN')" if new else "false"
    rows = session.execute(
        f"""SELECT s.relid::bigint AS oid, s.schemaname AS schema_name, s.relname AS name,
             coalesce(pg_relation_size(s.relid), 0) AS size, s.n_live_tup AS live,
             s.n_dead_tup AS dead, greatest(age(c.relfrozenxid), age(t.relfrozenxid)) AS age,
             greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) AS multi_age,
             coalesce(to_char(s.last_vacuum AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), '')
               AS by_hand,
             pg_has_role(c.relowner, 'USAGE') OR pg_has_role(d.datdba, 'USAGE') OR {maintains}
               AS ours,
             coalesce(to_char(greatest(s.last_vacuum, s.last_autovacuum) AT TIME ZONE 'UTC',
               'YYYY-MM-DD HH24:MI'), '') AS vacuumed,
             coalesce(s.n_live_tup * (28 + (SELECT sum(p.avg_width) FROM pg_stats p
               WHERE p.schemaname = s.schemaname AND p.tablename = s.relname
                 AND NOT p.inherited)) * 100 / coalesce((SELECT option_value::int
                   FROM pg_options_to_table(c.reloptions) WHERE option_name = 'fillfactor'), 100),
               0)::bigint AS content
           FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
             JOIN pg_database d ON d.datname = current_database()
             LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
           WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
           ORDER BY s.n_dead_tup DESC, 2, 3"""  # noqa: S608 - a piece by server version
    ).fetchall()
    return [Table(**row) for row in rows]


def look_at_vacuum(session: Connection, pid: int) -> Underway | None:
    """Say how far a backend has come in vacuuming a table."""
    row = session.execute(
        """SELECT phase, heap_blks_total AS total, heap_blks_scanned AS done
           FROM pg_stat_progress_vacuum WHERE pid = %s""",
        (pid,),
    ).fetchone()
    if row is None:
        return None
    return Underway(row["done"] / row["total"] if row["total"] else 0.0, row["phase"])


class VacuumTable(Change):
    """Remove a table's dead rows, freeze old ones, and renew its statistics.

    Args:
        schema_name: Its schema.
        name: Its name.
        oid: Its OID.
        before: When it was vacuumed by hand before; '' for never.
        freeze: Whether old rows are frozen in all of it, and not only where it has changed.
    """

    kind: ClassVar[str] = "database.vacuum_table"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)
    reverts: ClassVar[Reverts] = "pointless"

    schema_name: str
    name: str
    oid: int
    before: str
    freeze: bool

    @property
    def title(self) -> str:
        """What the change does."""
        return f"vacuum and analyse {self.schema_name}.{self.name}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"table {self.schema_name}.{self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"vacuumed by hand: {self.before or 'never'}", "vacuumed now; dead rows are removed"

    def observe(self, work: Work) -> Observed:
        """See when it was vacuumed last; PostgreSQL forgets that in a crash."""
        with targets.load(work.target).database.connect() as session:
            found = self._found(session)
        if found is None:
            return Observed(Standing.OTHER, f"there is no table {self.schema_name}.{self.name}")
        is_done = found.by_hand > self.before
        seen = f"vacuumed by hand: {found.by_hand or 'never'}; about {found.dead:,} dead rows"
        return Observed(Standing.AFTER if is_done else Standing.BEFORE, seen)

    def apply(self, work: Work) -> str:
        """Vacuum it, giving way to who queues behind."""
        database = targets.load(work.target).database
        with database.connect() as session:
            before = self._found(session)
        statement = sql.SQL("VACUUM (ANALYZE) {}").format(
            sql.Identifier(self.schema_name, self.name)
        )
        settings = {**_GENTLY, **(_WHOLE if self.freeze else {})}
        run_giving_way(database, statement, look_at_vacuum, work, self.title, **settings)
        with database.connect() as session:
            after = self._told(session, before.by_hand if before else "")
        if before is None or after is None:
            return ""
        return (
            f"dead rows {before.dead:,} -> {after.dead:,}, file {before.size / 1e6:.1f} -> "
            f"{after.size / 1e6:.1f} MB"
        )

    def _found(self, session: Connection) -> Table | None:
        return next((one for one in list_tables(session) if one.oid == self.oid), None)

    def _told(self, session: Connection, before: str) -> Table | None:
        """Wait until the statistics know: before PostgreSQL 15 they are told a moment later."""
        give_up = time.monotonic() + _TOLD_WITHIN_SECONDS
        while (found := self._found(session)) and found.by_hand <= before:
            if time.monotonic() > give_up:
                break
            time.sleep(0.2)
        return found
