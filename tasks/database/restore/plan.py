"""The stages of a restore, made from what was looked at."""

from tasks.database.copies.freeze import FreezeCopy
from tasks.database.copies.proof import ConstraintsAreValid, CopyIsComplete, IndexesAreSound
from tasks.database.copies.settings import READ_ONLY, CopyDatabaseSettings
from tasks.database.copies.side_database import CreateSideDatabase
from tasks.database.disk import FreeDisk
from tasks.database.marks import name_beside
from tasks.database.restore.inspection import Found, Request
from tasks.database.restore.loading import LoadBackup
from tasks.database.restore.read_only import SetReadOnly
from tasks.database.schema.migrating import MigrateSideDatabase
from tasks.guardrails.plan import Change, Check, Effects, Finding, Limit
from tasks.guardrails.words import counted

_BYTES_A_SECOND = 40e6  # measured with pg_restore -j2 on two cores: 30-60 MB/s


def side_name(request: Request, found: Found) -> str:
    """Name the copy."""
    return name_beside(found.live.name, "restore", request.remediation)


def describe(found: Found) -> tuple[Finding, ...]:
    """Say what was found: live as it is, the backups, and the loss as it is estimated."""
    live, backup = found.facts, found.chosen
    tables = sorted({*live.rows, *live.unread, *backup.tables})
    more = {t: live.rows.get(t, 0) - backup.tables.get(t, 0) for t in tables if t in live.rows}
    grown = sum(count for count in more.values() if count > 0)
    rows = tuple(
        (
            table,
            f"{backup.tables[table]:,}" if table in backup.tables else "not in it",
            f"{live.rows[table]:,}"
            if table in live.rows
            else f"cannot be read: {live.unread[table]}"
            if table in live.unread
            else "missing",
        )
        for table in tables
    )
    return (
        Finding(
            what=f"{backup.name} is sound: {backup.format}"
            f"{f' ({backup.compression})' if backup.compression else ''}, taken "
            f"{backup.taken:%Y-%m-%d %H:%M:%S} UTC (by its {backup.taken_from}), PostgreSQL "
            f"{backup.server_version or 'unknown'}, pg_dump {backup.dump_version or 'unknown'}, "
            f"schema {backup.revision or 'unknown'}, sha256 {backup.sha256[:12]}…",
            how="read to its end" if not backup.manifest else "manifest, its checksum compared",
            columns=("backup", "time (UTC)", "verdict"),
            rows=found.choice.judged,
        ),
        Finding(
            what=f"{live.facts.name}: {counted(len(live.unread), 'table')} cannot be read, "
            f"{sum(table not in live.rows and table not in live.unread for table in tables)} "
            f"missing; schema {live.revision or 'unknown'}. Estimate of what a restore loses: "
            f"{counted(grown, 'row')} more than in the backup; measured before the cut-over.",
            how="SELECT count(*) without indexes, against the backup's own counts",
            columns=("table", "rows in the backup", "rows now"),
            rows=rows,
        ),
    )


def plan_copy(request: Request, found: Found) -> tuple[Change, ...]:
    """Plan the changes that make the copy."""
    live = found.facts
    side = side_name(request, found)
    own = next((v for role, n, v in live.settings.settings if n == READ_ONLY and not role), "")
    changes: list[Change] = []
    if request.refuse_writes:
        changes.append(SetReadOnly(live=live.facts.name, live_oid=live.facts.oid, before=own))
    return (
        *changes,
        *plan_loading(side, found),
        FreezeCopy(side=side),
        CopyDatabaseSettings(side=side, live=live.facts.name, wanted=live.settings),
    )


def plan_loading(side: str, found: Found) -> tuple[Change, ...]:
    """Plan a copy of the backup, brought to live's schema where the backup's is older.

    Args:
        side: Name of the copy.
        found: The backup, live, and what else was found.

    Returns:
        The changes in order.
    """
    live, backup = found.facts, found.chosen
    changes: list[Change] = [
        CreateSideDatabase(
            name=side,
            live=live.facts.name,
            live_oid=live.facts.oid,
            shape=live.facts.shape,
        ),
        LoadBackup(
            side=side,
            backup=backup.name,
            format=backup.format,
            compression=backup.compression,
            sha256=backup.sha256,
            expected_bytes=found.expected_bytes,
            leave_out=found.leave_out,
            without=() if live.rights.superuser else backup.diagnostic,
            load_as=(
                live.facts.shape.owner if live.rights.superuser and found.loads_as_owner else ""
            ),
            tables=backup.tables,
            taken=backup.taken,
        ),
    ]
    if found.is_older:
        changes.append(
            MigrateSideDatabase(
                side=side,
                live=live.facts.name,
                owner=live.facts.shape.owner,
                before=backup.revision,
                after=live.revision,
            )
        )
    return tuple(changes)


def plan_proof(request: Request, found: Found) -> tuple[Check, ...]:
    """Plan what is proved of the copy; rows are counted where no migration moved them."""
    side = side_name(request, found)
    backup = found.chosen
    counted: tuple[Check, ...] = ()
    if not found.is_older:
        counted_in = "the manifest" if backup.manifest else "the backup"
        counted = (CopyIsComplete(side=side, tables=backup.tables, counted_in=counted_in),)
    return (*counted, ConstraintsAreValid(side=side), IndexesAreSound(side=side))


def plan_limits(found: Found) -> tuple[Limit, ...]:
    """Plan the limit on disk, where it can be measured."""
    if found.disk_free is None:
        return ()
    return (FreeDisk(at_least=float(found.disk_needed), unit="bytes"),)


def forecast_copy(found: Found, *, refuse_writes: bool = False) -> Effects:
    """Say what a stage costs that loads a backup beside the live database.

    Args:
        found: The backup, and the disk that it needs.
        refuse_writes: Whether writers are kept out of live meanwhile.
    """
    seconds = found.expected_bytes / _BYTES_A_SECOND
    return Effects(
        outage="writes fail from its start on" if refuse_writes else "none",
        locks="none in the live database",
        duration=f"about {max(5, seconds):.0f} s",
        lost="nothing",
        disk_needed=found.disk_needed,
        disk_free=found.disk_free,
    )
