"""What a database holds, for comparing it before and after: schema, rows, large objects."""

import os
import re
import subprocess
from dataclasses import dataclass

from infra.sandbox.planner import Planner
from tasks.platforms.postgresql_programs import CLIENT_PROGRAMS, find_programs


@dataclass(frozen=True)
class Snapshot:
    """A database's schema as pg_dump writes it, and a checksum of every table's rows."""

    schema: str
    rows: tuple[tuple[str, int, str], ...]
    large_objects: str


def snapshot(
    sandbox: Planner, database: str | None = None, *, without_load: bool = False
) -> Snapshot:
    """Take a snapshot of a sandbox's database, as its superuser.

    Args:
        sandbox: The sandbox.
        database: Another database than the application's.
        without_load: Leave out what the sandbox's load writes.

    Returns:
        The snapshot; equal for equal contents. A table that cannot be read is told as such.
    """
    name = database or sandbox.settings.database
    rows = []
    with sandbox.connect(name) as session:
        session.autocommit = True
        tables = session.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            # The application records every log-in in audit_logs, the checks' too.
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') "
            "AND tablename <> 'audit_logs' ORDER BY 1"
        ).fetchall()
        for (table,) in tables:
            loaded = without_load and table == "public.programs"
            try:
                row = session.execute(
                    f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text "
                    f"FROM {table} AS t" + (" WHERE name NOT LIKE 'Load %'" if loaded else "")
                ).fetchone()
            except Exception as error:  # noqa: BLE001 - a damaged table is part of the picture
                rows.append((table, -1, type(error).__name__))
                continue
            assert row is not None
            rows.append((table, row[0], row[1]))
        large = session.execute(
            "SELECT coalesce(string_agg(oid::text || md5(lo_get(oid)), ',' ORDER BY oid), '') "
            "FROM pg_largeobject_metadata"
        ).fetchone()
    assert large is not None
    return Snapshot(_schema(sandbox, name), tuple(rows), large[0])


def _schema(sandbox: Planner, name: str) -> str:
    """Dump the schema; lines that differ at every dump are left out."""
    with sandbox.connect(name) as session:
        seen = session.info
        address = {"PGHOST": seen.host, "PGPORT": str(seen.port), "PGUSER": seen.user}
        password, major = seen.password, seen.server_version // 10000
    done = subprocess.run(
        [find_programs(major, CLIENT_PROGRAMS) / "pg_dump", "--schema-only", name],
        env={**os.environ, **address, "PGPASSWORD": password},
        check=True,
        capture_output=True,
        text=True,
    )
    # A server of 15.20 keeps a number in each column's options; older programs dump it as one.
    number = r"ALTER TABLE ONLY .* SET \(pg_attver=\d+\);"
    ours = rf"^(--.*|\\(un)?restrict .*|{number})?\n"
    return re.sub(ours, "", done.stdout, flags=re.MULTILINE)


def databases(sandbox: Planner) -> tuple[str, ...]:
    """Name the server's databases."""
    with sandbox.connect("postgres") as session:
        found = session.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    return tuple(name for (name,) in found)
