"""What restore_from_backup looks at before it plans: live, rights, backups, disk."""

from dataclasses import dataclass, field

from tasks.database.backup.archive import DIAGNOSTIC
from tasks.database.backup.backups import Backup
from tasks.database.backup.choosing import Choice, Wanted, choose_backup
from tasks.database.backup.fit import leaves_public, require_fit
from tasks.database.backup.plain_filter import PUBLIC_OWNER
from tasks.database.catalogue import DatabaseFacts, elsewhere, find_unknown
from tasks.database.copies.settings import require_settable
from tasks.database.disk import forecast_disk
from tasks.database.restore.live import Live, inspect_live
from tasks.database.schema.revision import is_older
from tasks.database.schema.settings import require_migration
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.probe import probe
from tasks.platforms import targets

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
    return weigh(request, live, find_sound_backup(request.target, request.backup, live))


def weigh(request: Request, live: Live, choice: Choice) -> Found:
    """Find out whether a copy of a backup can be made beside live, and what it costs.

    Args:
        request: What was asked for.
        live: The live database.
        choice: The backup.

    Returns:
        What was found.

    Raises:
        PreconditionFailed: It cannot be made; names what stands in its way.
    """
    backup = choice.chosen
    system = targets.load(request.target)
    database = system.database
    older = is_older(system, backup.revision, live.revision)
    if older:
        require_migration(system, live.rights, backup.revision, live.revision)
    with database.connect(elsewhere(database)) as session:
        beyond_owner = require_fit(session, backup, live.rights, live.facts.shape.owner)
        require_settable(session, live.settings, live.rights)
        leave_out = find_unknown(session, set(backup.settings) - {"session", "local"})
        public = leaves_public(session, backup)
    size, needed, free = measure_disk(request.target, live, backup)
    notes = [f"left out of the dump, unknown to this server: SET {name}" for name in leave_out]
    if public:
        leave_out += (PUBLIC_OWNER,)
        notes.append(
            f"left out of the dump: that schema public is {backup.public_owner}'s; in the copy it "
            "is whose it is in a new database"
        )
    if free is None:
        notes.append("stays unproved: that the disk suffices (its free space cannot be measured)")
    if not backup.manifest:
        notes.append("no manifest: rows are counted in the backup itself")
    if backup.diagnostic and not live.rights.superuser:
        names = ", ".join(name for name in backup.extensions if name in DIAGNOSTIC)
        notes.append(f"left out, a superuser has to create them again: extensions {names}")
    if live.attached:
        notes.append(f"stay behind with the old database: {', '.join(live.attached)}")
    if live.rights.superuser and beyond_owner:
        notes.append(f"loaded as a superuser, for {', '.join(beyond_owner)}")
    if backup.revision != live.revision and not older:
        notes.append(
            f"the copy keeps the backup's schema {backup.revision or 'unknown'}; "
            f"live is at {live.revision or 'unknown'}"
        )
    return Found(live, choice, leave_out, size, needed, free, older, not beyond_owner, tuple(notes))
