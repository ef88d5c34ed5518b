"""What stands in the way of a cut-over, by name, and what is attached to a database."""

from tasks.database.catalogue import DatabaseFacts
from tasks.database.sessions import find_sessions
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.platforms.protocols import Connection, Database

_ATTACHED = {
    "publication": "SELECT pubname AS name FROM pg_publication",
    "foreign server": "SELECT srvname AS name FROM pg_foreign_server",
    "event trigger": "SELECT evtname AS name FROM pg_event_trigger",
}


def find_attached(database: Database, live: DatabaseFacts) -> list[str]:
    """List what is attached to a database and does not come over with a restored copy.

    Args:
        database: The database under care.
        live: The live database.

    Returns:
        Publications, subscriptions, logical slots, pg_cron jobs, foreign servers, event
        triggers, as 'publication p'.
    """
    found: list[str] = []
    with database.connect(live.name) as session:
        for what, query in _ATTACHED.items():
            found += [f"{what} {row['name']}" for row in session.execute(query).fetchall()]
        found += _named(
            session,
            "subscription",
            "SELECT subname AS name FROM pg_subscription WHERE subdbid = %s",
            live.oid,
        )
        found += _named(
            session,
            "logical slot",
            "SELECT slot_name AS name FROM pg_replication_slots WHERE datoid = %s",
            live.oid,
        )
        found += _find_cron_jobs(session, live.name)
    return found


def _named(session: Connection, what: str, query: str, oid: int) -> list[str]:
    try:
        rows = session.execute(query.encode(), (oid,)).fetchall()
    except RemediationError as error:
        return [f"{what}: cannot be read ({error.found})"]
    return [f"{what} {row['name']}" for row in rows]


def _find_cron_jobs(session: Connection, live: str) -> list[str]:
    there = session.execute("SELECT to_regclass('cron.job') IS NOT NULL AS there").fetchone()
    if not there or not there["there"]:
        return []
    rows = session.execute(
        "SELECT jobid::text AS name FROM cron.job WHERE database = %s", (live,)
    ).fetchall()
    return [f"pg_cron job {row['name']}" for row in rows]


def find_blockers(session: Connection, live: DatabaseFacts) -> list[str]:
    """Find what would make a cut-over fail or hang.

    Args:
        session: A session in another database of the server.
        live: The live database.

    Returns:
        Prepared transactions and sessions that we may not end, as sentences.
    """
    found = [
        f"prepared transaction {row['gid']!r} of {row['owner']} "
        f"(COMMIT PREPARED or ROLLBACK PREPARED it)"
        for row in session.execute(
            "SELECT gid, owner FROM pg_prepared_xacts WHERE database = %s", (live.name,)
        ).fetchall()
    ]
    found += [
        f"session {one['pid']} of {one['role']} ({one['client'] or 'no application_name'}), "
        "which the maintenance user may not end"
        for one in find_sessions(session, live.oid)
        if not one["may_end"]
    ]
    return found


def require_no_blockers(session: Connection, live: DatabaseFacts) -> None:
    """Refuse a cut-over that would fail.

    Args:
        session: A session in another database of the server.
        live: The live database.

    Raises:
        PreconditionFailed: Names each prepared transaction and session.
    """
    if blockers := find_blockers(session, live):
        raise PreconditionFailed(
            expected=f"nothing to keep {live.name} from being renamed.",
            found="; ".join(blockers) + ".",
            todo="End what is named, or give the maintenance user the right to, and run again.",
        )


def require_nothing_attached(attached: list[str]) -> None:
    """Refuse while something is attached to the database whose fate the plan does not say.

    Raises:
        PreconditionFailed: Names each.
    """
    if attached:
        raise PreconditionFailed(
            expected="nothing attached to the database that a restored copy would leave behind.",
            found=f"{', '.join(attached)}.",
            todo="Run again with attached='leave': they then stay with the old database, "
            "closed, and have to be made anew on the restored one.",
        )
