"""What back_up_database looks at before it plans."""

from dataclasses import dataclass

from tasks.database.backup.backups import find_backups
from tasks.database.backup.dump_programs import choose_compression
from tasks.database.catalogue import elsewhere, inspect_database
from tasks.database.disk import forecast_disk
from tasks.database.rights import inspect_rights, require_rights
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets

_BYTES_A_SECOND = 20e6
_LISTED = 10


@dataclass(frozen=True)
class Source:
    """The database that is backed up.

    Args:
        name: Its name.
        oid: Its OID.
        compression: 'zstd' or 'gzip'.
        disk_needed: Bytes that the throw-away database needs on the server.
        disk_free: Bytes free there, None where unknown.
        duration: How long it will take.
        findings: What was found.
        notes: What stays unproved.
    """

    name: str
    oid: int
    compression: str
    disk_needed: int
    disk_free: int | None
    duration: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


@probe
def inspect_source(target: str) -> Source:
    """Look at the database, the rights, the disk and the backups that there are.

    Args:
        target: Name of the target.

    Returns:
        What was found.

    Raises:
        PreconditionFailed: A right is missing, or the proof does not fit on the disk.
    """
    system = targets.load(target)
    database = system.database
    with database.connect(elsewhere(database)) as session:
        facts = inspect_database(session, database.name)
        require_rights(inspect_rights(session, facts))
        needed = forecast_disk(session, facts.size)
    free = database.free_bytes()
    if free is not None and free < needed:
        raise PreconditionFailed(
            expected=f"{needed / 1e6:.0f} MB free to prove the backup by restoring it.",
            found=f"{free / 1e6:.0f} MB free where the server keeps its data.",
            todo="Free space there, then run again.",
        )
    there = find_backups(system.backups)
    newest = f"the newest is {there[0].name}" if there else "there is none yet"
    finding = Finding(
        what=f"{facts.name} has {facts.size / 1e6:.0f} MB; the store has "
        f"{counted(len(there), 'backup')}, "
        f"{newest}.",
        how="pg_database_size, the store's list",
        columns=("backup", "bytes", "time (UTC)") if there else (),
        rows=tuple(
            (one.name, f"{one.size:,}", f"{one.modified:%Y-%m-%d %H:%M:%S}")
            for one in there[:_LISTED]
        ),
    )
    return Source(
        name=facts.name,
        oid=facts.oid,
        compression=choose_compression(database),
        disk_needed=needed,
        disk_free=free,
        duration=f"about {max(5, facts.size / _BYTES_A_SECOND):.0f} s",
        findings=(finding,),
        notes=("free disk of the server cannot be measured",) if free is None else (),
    )
