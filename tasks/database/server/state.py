"""Whether a database's server accepts connections, and what is seen of it from outside."""

import enum

from tasks.database.catalogue import elsewhere
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.platforms.protocols import Database
from tasks.platforms.servers import Look

_NOT_YET = "the database system is"


def find_refusal(database: Database) -> str:
    """Say why a server does not accept connections.

    Args:
        database: The database; its maintenance database is connected to.

    Returns:
        '' where it accepts them: also where it lets this user, or one more, not in.
    """
    try:
        database.connect(elsewhere(database)).close()
    except Transient as error:
        answered = "FATAL:" in error.found and _NOT_YET not in error.found
        return "" if answered else error.found
    except PreconditionFailed:
        return ""  # it answers, and refuses
    return ""


class Recovery(enum.StrEnum):
    """Whether a server that accepts connections is still in recovery: nobody writes there."""

    DONE = "done"
    UNDERWAY = "underway"
    PAUSED = "paused"


def find_recovery(database: Database) -> Recovery:
    """Say whether a server that accepts connections is still in recovery.

    Args:
        database: The database.

    Raises:
        RemediationError: It lets us not in.
    """
    with database.connect(elsewhere(database)) as session:
        row = session.execute(
            "SELECT pg_is_in_recovery() AS on, "
            "CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END AS paused"
        ).fetchone()
    if not row or not row["on"]:
        return Recovery.DONE
    return Recovery.PAUSED if row["paused"] else Recovery.UNDERWAY


def describe(look: Look) -> tuple[tuple[str, str], ...]:
    """Write what was seen of a server, for a table.

    Args:
        look: How the server stands.

    Returns:
        What was looked at, and what was seen.
    """
    pid_file, control = look.pid_file, look.control
    names = "none"
    if pid_file:
        pid_is = f"which is {pid_file.pid_is}" if pid_file.pid_is else "which is gone"
        names = f"process {pid_file.pid}, {pid_is}" if pid_file.pid else "it names no process"
    free = "unknown" if look.free_bytes is None else f"{look.free_bytes / 1e6:,.0f} MB"
    return (
        *((("its container", look.supervisor),) if look.supervisor else ()),
        ("data folder", f"{look.data}: {look.folder}; {look.access or 'nobody may enter'}"),
        ("processes in it", ", ".join(map(str, look.holders)) or look.unseen or "none"),
        ("postmaster.pid", names),
        (
            "control file",
            f"{control.state}, written {control.changed}" if control else look.damage or "none",
        ),
        ("configuration", look.configuration or "is accepted"),
        ("port", look.elsewhere or look.port_holder or "taken by nobody else"),
        ("disk free", free),
        *(("it said last", line) for line in look.last_words),
    )
