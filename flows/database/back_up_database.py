"""Take a backup that is proved by restoring it."""

from datetime import UTC, datetime

from tasks.database.backup.backing_up import inspect_source
from tasks.database.backup.dump import BackUpDatabase
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Database Corruption / Restore from Backup")
def back_up_database(target: TargetName) -> Plan:
    """Back a database up, and prove the backup by restoring it into a throw-away database.

    What is dumped is counted in the dump's own snapshot; counts, checksum, versions and the
    schema's revision go into a manifest beside the backup, which restore_from_backup trusts.

    Args:
        target: Name of the target, as `remedy target list` shows it.

    Changes:
        A backup in the target's store, with the definitions of the roles (without passwords)
        and a manifest beside it. A throw-away database exists while it is proved.

    Undo:
        The backup is removed from the store.
    """
    source = inspect_source(target)
    return Plan(
        name="back_up",
        title=f"Back {source.name} up",
        risk=Risk.HARMLESS,
        findings=source.findings,
        changes=(
            BackUpDatabase(
                live=source.name,
                live_oid=source.oid,
                name=f"backup-{datetime.now(UTC):%Y%m%d-%H%M%S}-{remediation_id()}.dump",
                compression=source.compression,
            ),
        ),
        effects=Effects(
            locks="ACCESS SHARE on every table while it is dumped: DDL waits, writes do not",
            duration=source.duration,
            disk_needed=source.disk_needed,
            disk_free=source.disk_free,
        ),
        notes=source.notes,
    )
