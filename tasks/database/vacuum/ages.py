"""How old the oldest rows are: a server that runs out of transaction numbers takes no writes.

Source: PostgreSQL manual 25.1.5 (preventing transaction ID wraparound failures).
"""

from dataclasses import dataclass

from tasks.guardrails.plan import Finding
from tasks.guardrails.words import counted
from tasks.platforms.protocols import Connection

_OLD_SHARE = 0.5  # of what has autovacuum freeze whatever happens
_SHOWN = 20
_CATALOGUES = """
    SELECT c.oid::regclass::text AS name,
      greatest(age(c.relfrozenxid), age(t.relfrozenxid)) AS age,
      greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) AS multi_age
    FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    WHERE c.relkind = 'r' AND c.relnamespace = 'pg_catalog'::regnamespace"""
_DATABASES = """
    SELECT datname::text AS name, age(datfrozenxid) AS age, mxid_age(datminmxid) AS multi_age
    FROM pg_database WHERE datname <> current_database()"""


@dataclass(frozen=True)
class Limits:
    """Ages from which rows are frozen.

    Args:
        transactions: Since a row was written.
        multixacts: Since several transactions locked a row together.
    """

    transactions: float
    multixacts: float

    def are_passed(self, age: int, multi_age: int) -> bool:
        """Say whether something is old."""
        return age > self.transactions or multi_age > self.multixacts


def read_limits(session: Connection) -> Limits:
    """Read from which ages on rows are frozen: half of what autovacuum waits for.

    Args:
        session: A session in the database.
    """
    row = session.execute(
        """SELECT current_setting('autovacuum_freeze_max_age')::bigint AS transactions,
             current_setting('autovacuum_multixact_freeze_max_age')::bigint AS multixacts"""
    ).fetchone()
    assert row  # noqa: S101 - for mypy
    return Limits(_OLD_SHARE * row["transactions"], _OLD_SHARE * row["multixacts"])


def describe_old(session: Connection, limits: Limits) -> list[Finding]:
    """Name what is old and not vacuumed here: the system catalogues, and other databases.

    Args:
        session: A session in the database.
        limits: What is old.
    """
    catalogues, databases = (_find_old(session, one, limits) for one in (_CATALOGUES, _DATABASES))
    found = []
    if catalogues:
        many = counted(len(catalogues), "system catalogue has", "system catalogues have")
        found.append(
            Finding(
                what=f"{many} old rows, which are not frozen by this.",
                how="pg_class: relfrozenxid, relminmxid, of TOAST tables too",
                columns=("catalogue", "age", "multixact age"),
                rows=tuple(catalogues[:_SHOWN]),
                patch="As a superuser: VACUUM (FREEZE), here; it locks nobody out.",
            )
        )
    if databases:
        many = counted(len(databases), "other database has", "other databases have")
        found.append(
            Finding(
                what=f"{many} old rows: their age counts for the whole server.",
                how="pg_database: datfrozenxid, datminmxid",
                columns=("database", "age", "multixact age"),
                rows=tuple(databases[:_SHOWN]),
                patch="As a superuser: VACUUM (FREEZE), in each. Into one that lets nobody in, as "
                "template0, autovacuum sees by itself.",
            )
        )
    return found


def _find_old(session: Connection, query: str, limits: Limits) -> list[tuple[str, str, str]]:
    rows = session.execute(query).fetchall()
    return [
        (row["name"], f"{row['age']:,}", f"{row['multi_age']:,}")
        for row in sorted(rows, key=lambda one: (-int(one["age"]), one["name"]))
        if limits.are_passed(row["age"], row["multi_age"])
    ]
