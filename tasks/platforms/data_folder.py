"""What the names and texts in the data folder of a PostgreSQL server say, wherever it lies.

Sources: PostgreSQL manual 73.1 (what is in a data folder), pg_controldata; postmaster.pid as
src/include/utils/pidfile.h describes it.
"""

import re
from collections.abc import Collection

from tasks.platforms.servers import Control, Folder, PidFile

FIRST_OF_USERS = 16384  # what initdb makes has smaller numbers
_STARTED_LINE, _PORT_LINE, _STATUS_LINE = 2, 3, 7
# What initdb makes, and a server adds: anything else in a folder may be somebody's.
_MADE_BY_INITDB = {
    *("PG_VERSION", "base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact"),
    *("pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp"),
    *("pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_xact", "postgresql.conf"),
    *("postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf", "postmaster.pid"),
    *("postmaster.opts", "current_logfiles", "log"),
}


def what_is_in(names: Collection[str], *, has_control: bool, has_users: bool) -> Folder:
    """Say what a folder is that is there.

    Args:
        names: Of what is in it.
        has_control: Whether there is a control file.
        has_users: Whether something in it was made after initdb: it may be somebody's rows.

    Returns:
        What it is.
    """
    there = set(names) - {"lost+found"}
    if not there:
        return Folder.EMPTY
    # One without a control file may hold somebody's rows all the same.
    if ("PG_VERSION" in there and has_control) or has_users:
        return Folder.WHOLE
    return Folder.HALF_MADE if there <= _MADE_BY_INITDB else Folder.UNKNOWN


def pid_in(text: str) -> int:
    """Give the number that postmaster.pid names, 0 for none."""
    first = text.partition("\n")[0].strip()
    return abs(int(first)) if first.lstrip("-").isdigit() else 0


def started_in(text: str) -> int:
    """Give when the server of postmaster.pid was started, as Unix time; 0 where it says nothing."""
    lines = text.splitlines()
    said = lines[_STARTED_LINE].strip() if len(lines) > _STARTED_LINE else ""
    return int(said) if said.isdigit() else 0


def read_pid_file(text: str, pid_is: str) -> PidFile:
    """Read postmaster.pid.

    Args:
        text: What it says.
        pid_is: What has its number now, '' for nothing.

    Returns:
        Its parts.
    """
    lines = [line.strip() for line in text.splitlines()] + [""] * 8
    return PidFile(text, pid_in(text), pid_is, lines[_STATUS_LINE], lines[_PORT_LINE])


def read_control(said: str, status: int) -> tuple[Control | None, str]:
    """Read what pg_controldata says.

    Args:
        said: What it printed, errors behind it.
        status: How it ended.

    Returns:
        The control file, None where it cannot be read; and what is wrong with it, '' for nothing.
    """
    known = dict(re.findall(r"^(.+?): +(.*)$", said, re.MULTILINE))
    warnings = re.findall(r"(?i)warning: +(.+)", said)
    wrong = str(warnings[0]) if warnings else ""
    if status or "Database system identifier" not in known:
        return None, wrong or (said.strip().splitlines() or ["it cannot be read"])[-1]
    control = Control(
        system_identifier=known["Database system identifier"],
        state=known.get("Database cluster state", ""),
        changed=known.get("pg_control last modified", ""),
    )
    return control, wrong


def misfit(made_by: str, programs: str) -> str:
    """Say why programs do not fit the data, '' where they do.

    Args:
        made_by: What PG_VERSION says, '' where there is none.
        programs: What `postgres --version` says.
    """
    is_of = re.search(r"\) (\d+)", programs)
    if not made_by or (is_of and is_of[1] == made_by):
        return ""
    return f"The data is of version {made_by}, the programs are {programs or 'of none'}"


def complaint(said: str, status: int) -> str:
    """Say what a server has against its configuration, '' for nothing.

    Args:
        said: What `postgres -C` said.
        status: How it ended.
    """
    return "; ".join(re.findall(r"(?:LOG|FATAL): +(.+)", said)) if status else ""
