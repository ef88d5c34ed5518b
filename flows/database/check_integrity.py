"""Say whether a database's data holds together, and what to run where it does not."""

from tasks.database.integrity.report import (
    find_files_left,
    verify_all_indexes,
    verify_keys,
    verify_pages,
)
from tasks.guardrails.plan import Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Database Corruption / Diagnosis")
def check_integrity(target: TargetName) -> Plan:
    """Look at every row, index and foreign key of a database while the application works on.

    The guide's VACUUM ANALYZE is no check: it passes over pages that are all visible, reads no
    index for errors and follows no foreign key. Its pg_stat_database counts checksum failures
    of pages that somebody happened to read. Here all of it is read, without a lock that
    anybody notices; each look gives way where others queue behind it.

    Args:
        target: Name of the target, as `remedy target list` shows it.

    Changes:
        None: it reports, with what to run for each finding.

    Undo:
        Nothing to take back.
    """
    return Plan(
        name="report",
        title="Report what is wrong with the data",
        risk=Risk.HARMLESS,
        findings=(
            *verify_pages(target),
            *verify_all_indexes(target),
            *verify_keys(target),
            *find_files_left(target),
        ),
    )
