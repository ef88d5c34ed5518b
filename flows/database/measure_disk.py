"""Say what takes the room on the disks of a target, and what to run for each part of it."""

from tasks.disk.data import measure_backups, measure_databases
from tasks.disk.full import find_deleted, measure_places
from tasks.disk.logs import find_logs
from tasks.disk.sizes import chart
from tasks.disk.stored import measure_engine
from tasks.guardrails.plan import Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Out of Disk Space / Diagnosis")
def measure_disk(target: TargetName) -> Plan:
    """Measure the disks of a target, and say what on them takes how much.

    The guide's `df` and `docker system df` say that a disk is full, and how much might be
    reclaimed, not what by. Here every image, container, volume and record of the build cache is
    listed with who uses it, a compose project that is stopped among them; besides the logs of
    containers and whether they are rotated, deleted files that a process still holds open, the
    databases with their dead rows, and the backups. Inodes are counted as well: a disk without
    them is full, too.

    Args:
        target: Name of the target, as `remedy target list` shows it.

    Changes:
        None: it reports, with what to run for each finding.

    Undo:
        Nothing to take back.
    """
    places = measure_places(target)
    databases, of_databases = measure_databases(target)
    backups, of_backups = measure_backups(target)
    engine, of_engine = measure_engine(target)
    logs, of_logs = find_logs(target)
    deleted, of_deleted = find_deleted(target)
    sizes = {
        "databases": of_databases,
        "backups": of_backups,
        "deleted files still open": of_deleted,
        **({"logs of containers": of_logs} if logs else {}),
        **of_engine,
    }
    return Plan(
        name="report",
        title="Report what takes the room on the disks",
        risk=Risk.HARMLESS,
        findings=(*places, chart(sizes), *databases, backups, *engine, *logs, deleted),
    )
