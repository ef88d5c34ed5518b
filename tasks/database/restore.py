"""What restore_from_backup looks at before it plans: live, rights, backups, disk."""

from dataclasses import dataclass, field

from psycopg import sql

from tasks.database import catalogue
from tasks.database.archive import DIAGNOSTIC
from tasks.database.backups import Backup
from tasks.database.blockers import (
    find_attached,
    require_no_blockers,
    require_nothing_attached,
)
from tasks.database.catalogue import DatabaseFacts, connect_with, elsewhere, find_tables
from tasks.database.choosing import Choice, Wanted, choose_backup
from tasks.database.differences import SETTINGS
from tasks.database.limits import forecast_disk
from tasks.database.migrating import require_migration
from tasks.database.revision import is_older, read_revision
from tasks.database.rights import (
    Rights,
    inspect_rights,
    require_fit,
    require_no_other_restore,
    require_rights,
)
from tasks.database.settings import DatabaseSettings, inspect_settings
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

_PER_BACKUP_BYTE = 6  # a packed backup's size to that of the database, where nothing says more


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Args:
        target: Name of the target.
        remediation: Id of the remediation.
        backup: Name of a backup, or 'newest'.
        refuse_writes: Whether live becomes read-only for the time of it.
        leave_attached: Whether what is attached to live may stay behind.
    """

    target: str
    remediation: str
    backup: str
    refuse_writes: bool = False
    leave_attached: bool = False


@dataclass(frozen=True)
class Live:
    """The live database as it was found.

    Args:
        facts: Its identity and shape.
        rows: Rows by 'schema.table'.
        unread: Why a table cannot be read, by 'schema.table'.
        revision: Revision of the application's schema, '' where it cannot be read.
        settings: Rights, settings and labels.
        rights: What the maintenance user may do.
        attached: What is attached to it.
        server_major: Major version of the server.
    """

    facts: DatabaseFacts
    rows: dict[str, int]
    unread: dict[str, str]
    revision: str
    settings: DatabaseSettings
    rights: Rights
    attached: tuple[str, ...]
    server_major: int


@dataclass(frozen=True)
class Found:
    """Everything that the first plan is made from."""

    facts: Live
    choice: Choice
    leave_out: tuple[str, ...]
    expected_bytes: int
    disk_needed: int
    disk_free: int | None
    is_older: bool
    loads_as_owner: bool
    notes: tuple[str, ...] = field(default=())

    @property
    def live(self) -> DatabaseFacts:
        """The live database."""
        return self.facts.facts

    @property
    def chosen(self) -> Backup:
        """The backup to restore."""
        return self.choice.chosen


@probe
def inspect_live(target: str, remediation: str, *, leave_attached: bool) -> Live:
    """Look at the live database and at what would keep a restore from going through.

    Args:
        target: Name of the target.
        remediation: Id of the remediation that asks.
        leave_attached: Whether what is attached may stay behind.

    Returns:
        What was found.

    Raises:
        PreconditionFailed: A right is missing, something stands in the way, or is attached.
        TargetBusy: Another restore is under way.
    """
    system = targets.load(target)
    database = system.database
    table = system.migrations.version_table if system.migrations else "alembic_version"
    with database.connect(elsewhere(database)) as session:
        facts = catalogue.inspect_database(session, database.name)
        rights = inspect_rights(session, facts)
        require_rights(rights)
        require_no_other_restore(session, database.name, remediation)
        require_no_blockers(session, facts)
        settings = inspect_settings(session, database.name)
        major = session.info.server_version // 10000
    attached = find_attached(database, facts)
    if not leave_attached:
        require_nothing_attached(attached)
    with connect_with(database, database.name, SETTINGS) as session:
        rows, unread = _count_readable(session)
        revision = read_revision(session, table)
    return Live(facts, rows, unread, revision, settings, rights, tuple(attached), major)


def _count_readable(session: Connection) -> tuple[dict[str, int], dict[str, str]]:
    rows: dict[str, int] = {}
    unread: dict[str, str] = {}
    for schema, name in find_tables(session):
        try:
            # The rows' bytes are read too: a damaged page of toasted values hides from count(*).
            row = session.execute(
                sql.SQL("SELECT count(*) AS n FROM ONLY {}").format(sql.Identifier(schema, name))
            ).fetchone()
        except RemediationError as error:
            unread[f"{schema}.{name}"] = error.found
        else:
            rows[f"{schema}.{name}"] = int(row["n"]) if row else 0
    return rows, unread


@probe
def find_sound_backup(target: str, name: str, live: Live) -> Choice:
    """Choose the backup: the newest that is sound and this database's, or the one named.

    Args:
        target: Name of the target.
        name: Name of a backup, or 'newest'.
        live: The live database.

    Returns:
        The choice.

    Raises:
        PreconditionFailed: None may be used; says why of each.
    """
    system = targets.load(target)
    table = system.migrations.version_table if system.migrations else "alembic_version"
    tables = frozenset([*live.rows, *live.unread])
    wanted = Wanted(live.facts.name, tables, live.server_major, table)
    return choose_backup(system.database, system.backups, name, wanted)


@probe
def measure_disk(target: str, live: Live, backup: Backup) -> tuple[int, int, int | None]:
    """Forecast what a copy needs on the server's disk.

    Args:
        target: Name of the target.
        live: The live database.
        backup: The backup.

    Returns:
        Bytes of the copy, bytes needed with WAL and sorting, bytes free (None: unknown).

    Raises:
        PreconditionFailed: It does not fit.
    """
    database = targets.load(target).database
    size = max(live.facts.size, 0 if backup.manifest else backup.size)
    if not live.rows or live.unread:
        size = max(size, backup.size * (1 if backup.format == "plain" else _PER_BACKUP_BYTE))
    with database.connect(elsewhere(database)) as session:
        needed = forecast_disk(session, size)
    free = database.free_bytes()
    if free is not None and free < needed:
        raise PreconditionFailed(
            expected=f"{needed / 1e6:.0f} MB free for the copy and its WAL.",
            found=f"{free / 1e6:.0f} MB free where the server keeps its data.",
            todo="Free space there, then run again.",
        )
    return size, needed, free


def look(request: Request) -> Found:
    """Look at everything that the first plan is made from.

    Args:
        request: What was asked for.

    Returns:
        What was found.

    Raises:
        PreconditionFailed: The restore cannot be planned; names what stands in its way.
        TargetBusy: Another restore is under way.
    """
    live = inspect_live(request.target, request.remediation, leave_attached=request.leave_attached)
    choice = find_sound_backup(request.target, request.backup, live)
    backup = choice.chosen
    system = targets.load(request.target)
    database = system.database
    older = is_older(system, backup.revision, live.revision)
    if older:
        require_migration(system, live.rights, backup.revision, live.revision)
    with database.connect(elsewhere(database)) as session:
        needing = require_fit(session, backup, live.rights)
        known = {row["name"] for row in session.execute("SELECT name FROM pg_settings").fetchall()}
    size, needed, free = measure_disk(request.target, live, backup)
    leave_out = tuple(
        name
        for name in backup.settings
        if backup.format == "plain" and name not in known and name != "session"
    )
    notes = [f"left out of the dump, unknown to this server: SET {name}" for name in leave_out]
    if free is None:
        notes.append("stays unproved: that the disk suffices (its free space cannot be measured)")
    if not backup.manifest:
        notes.append("no manifest: rows are counted in the backup itself")
    if backup.diagnostic and not live.rights.superuser:
        names = ", ".join(name for name in backup.extensions if name in DIAGNOSTIC)
        notes.append(f"left out, a superuser has to create them again: extensions {names}")
    if live.attached:
        notes.append(f"stay behind with the old database: {', '.join(live.attached)}")
    if needing:
        notes.append(f"loaded as a superuser, for the extensions {', '.join(needing)}")
    if backup.revision != live.revision and not older:
        notes.append(
            f"the copy keeps the backup's schema {backup.revision or 'unknown'}; "
            f"live is at {live.revision or 'unknown'}"
        )
    return Found(live, choice, leave_out, size, needed, free, older, not needing, tuple(notes))
