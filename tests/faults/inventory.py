"""What lies around a system: databases, roles, settings, sessions, programs, files."""

import contextlib
import re
import time
from collections.abc import Iterable

import psutil
import psycopg
from psycopg.rows import TupleRow

from tests.faults.grounds import Ground

_ID = re.compile(r"(?<![a-z0-9])[a-z2-7]{10}(?![a-z0-9])")
_PROGRAMS = ("pg_dump", "pg_dumpall", "pg_restore", "psql")
_QUERIES = {
    "databases": "SELECT datname || ' ' || datallowconn || ' ' || datconnlimit FROM pg_database",
    "roles": "SELECT rolname || ' ' || rolcanlogin || ' ' || coalesce(rolvaliduntil::text, '') "
    "FROM pg_roles",
    "settings": "SELECT coalesce(d.datname, '') || ' ' || coalesce(r.rolname, '') || ' ' || "
    "s.setconfig::text FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase "
    "LEFT JOIN pg_roles r ON r.oid = s.setrole",
    "configuration": "SELECT lower(name) || ' ' || setting || ' ' || applied "
    "FROM pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf'",
    "in force": "SELECT name || ' ' || setting FROM pg_settings "
    "WHERE source = 'configuration file'",
    "sessions": "SELECT application_name || ' ' || state FROM pg_stat_activity "
    "WHERE application_name LIKE 'remedy:%'",
    "prepared": "SELECT gid FROM pg_prepared_xacts",
    "slots": "SELECT slot_name FROM pg_replication_slots",
}
_SETTLES_WITHIN_SECONDS = 30.0
Inventory = dict[str, tuple[str, ...]]


def inventory(ground: Ground) -> Inventory:
    """List what lies around.

    Args:
        ground: A system that is up; its database may be away.

    Returns:
        What there is, by its sort; ids of remediations are written as `*` and times as `#`, so
        that two runs leave the same names.
    """
    planner = ground.planner
    found = {sort: list[str]() for sort in (*_QUERIES, "invalid indexes", "programs")}
    with contextlib.suppress(psycopg.OperationalError), planner.connect("postgres") as session:
        _settle(session)
        for sort, query in _QUERIES.items():
            found[sort] = [str(row[0]) for row in session.execute(query).fetchall()]
        found["programs"] = list(_programs(session.info.host, str(session.info.port)))
    with contextlib.suppress(psycopg.OperationalError), planner.connect() as session:
        invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
        found["invalid indexes"] = [str(row[0]) for row in session.execute(invalid).fetchall()]
    found |= ground.around()
    return {sort: _plain(names) for sort, names in found.items()}


def _settle(session: "psycopg.Connection[TupleRow]") -> None:
    """Let sessions and programs end whose client has: that takes them a moment."""
    server = session.info.host, str(session.info.port)
    give_up = time.monotonic() + _SETTLES_WITHIN_SECONDS
    while time.monotonic() < give_up:
        if not session.execute(_QUERIES["sessions"]).fetchone() and not any(_programs(*server)):
            return
        time.sleep(0.1)


def _programs(host: str, port: str) -> Iterable[str]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            address = process.environ() if process.name() in _PROGRAMS else {}
            if (address.get("PGHOST"), address.get("PGPORT")) == (host, port):
                yield process.name()


def _plain(names: Iterable[str]) -> tuple[str, ...]:
    timeless = (re.sub(r"\d{8}-\d{6}", "#", name) for name in names)
    return tuple(sorted(_ID.sub("*", name) for name in timeless))
