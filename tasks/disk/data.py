"""What databases and backups take, and what gives room back there."""

from typing import Any

from tasks.disk.sizes import megabytes
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets

_SHOWN = 10
_DEAD_SHARE, _DEAD_ROWS = 0.1, 10_000
_DATABASES = """SELECT datname AS name, pg_database_size(oid) AS size,
    coalesce(shobj_description(oid, 'pg_database'), '') AS comment
  FROM pg_database WHERE has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats',
    'USAGE') ORDER BY 2 DESC"""
# What a server has counted of rows is gone after a crash; what an ANALYZE has found is not.
_TABLES = """SELECT relid::regclass::text AS name, pg_total_relation_size(relid) AS size,
    greatest(n_live_tup, reltuples::bigint, 0) AS live, n_dead_tup AS dead
  FROM pg_stat_user_tables JOIN pg_class ON oid = relid ORDER BY 2 DESC"""
_KEPT = " kept: "


@probe
def measure_databases(target: str) -> tuple[tuple[Finding, ...], int]:
    """Measure the databases of the server, and the tables of the one under care.

    Args:
        target: Name of the target.

    Returns:
        Findings, with what to run, and the bytes of all databases.
    """
    try:
        database = targets.load(target).database
        with database.connect() as session:
            databases = session.execute(_DATABASES).fetchall()
            tables = session.execute(_TABLES).fetchall()
    except RemediationError as error:
        unread = Finding(
            what=f"The databases cannot be measured: {error.found}", how=error.expected
        )
        return (unread,), 0
    size = sum(one["size"] for one in databases)
    kept = [
        one for one in databases if one["comment"].startswith("remedy ") and _KEPT in one["comment"]
    ]
    return (
        Finding(
            what=f"{counted(len(databases), 'database')} take {megabytes(size)} MB; "
            f"{len(kept) or 'none'} of them were kept by restores.",
            how="pg_database_size",
            columns=("database", "MB"),
            rows=tuple((one["name"], megabytes(one["size"])) for one in databases[:_SHOWN]),
            patch="drop_kept_databases" if kept else "",
        ),
        _tables(database.name, tables),
    ), size


def _tables(name: str, tables: list[dict[str, Any]]) -> Finding:
    dead = sum(one["dead"] for one in tables)
    share = dead / (dead + sum(one["live"] for one in tables) or 1)
    is_much = share >= _DEAD_SHARE and dead >= _DEAD_ROWS
    return Finding(
        what=f"{share:.0%} of the rows in {name} are dead ({dead:,} rows). A vacuum gives their "
        "room to new rows; only tables written anew give it back to the disk.",
        how="pg_stat_user_tables, pg_total_relation_size: the largest tables",
        columns=("table", "MB", "rows", "dead rows"),
        rows=tuple(
            (one["name"], megabytes(one["size"]), f"{one['live']:,}", f"{one['dead']:,}")
            for one in tables[:_SHOWN]
        ),
        patch="vacuum_database\nrewrite_tables" if is_much else "",
    )


@probe
def measure_backups(target: str) -> tuple[Finding, int]:
    """Measure the store of backups, with its trash.

    Args:
        target: Name of the target.

    Returns:
        A finding, with what to run, and the bytes.
    """
    store = targets.load(target).backups
    try:
        backups, trash = store.list(), store.discarded()
    except RemediationError as error:
        return Finding(what=f"Backups cannot be measured: {error.found}", how=error.expected), 0
    size = sum(one.size for one in backups)
    thrown = sum(sum(names.values()) for names in trash.values())
    oldest = f", the oldest of {backups[-1].modified:%Y-%m-%d}" if backups else ""
    return (
        Finding(
            what=f"{counted(len(backups), 'file')} of backups take {megabytes(size)} MB{oldest}; "
            f"{megabytes(thrown)} MB more are in the trash.",
            how="the store's list and its trash",
            columns=("backup", "MB", "time (UTC)") if backups else (),
            rows=tuple(
                (one.name, megabytes(one.size), f"{one.modified:%Y-%m-%d %H:%M}")
                for one in sorted(backups, key=lambda one: -one.size)[:_SHOWN]
            ),
            patch="clean_up_backups" if backups or thrown else "",
        ),
        size + thrown,
    )
