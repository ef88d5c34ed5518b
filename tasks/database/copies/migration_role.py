"""The role as which the application migrates a copy: it owns the copy, and nothing in live.

Source: PostgreSQL manual 5.8 (rights of PUBLIC), 20.11 (default_transaction_read_only).
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from tasks.database.catalogue import elsewhere, find_database
from tasks.database.copies.ownership import give_all_to
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection, Database
from tasks.platforms.scram import scram_verifier

_HAS_DEPENDENTS = "2BP01"
_WRITABLE = """
    SELECT count(*) AS n FROM pg_class WHERE relkind IN ('r', 'p', 'S', 'v', 'm')
      AND relnamespace <> 'pg_catalog'::regnamespace
      AND relnamespace <> 'information_schema'::regnamespace
      AND (has_table_privilege(%(role)s, oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
           OR pg_has_role(%(role)s, relowner, 'MEMBER'))"""


def role_of(remediation: str) -> str:
    """Name the role that a remediation migrates as."""
    return f"remedy_{remediation}"


def role_exists(session: Connection, role: str) -> bool:
    """Say whether there is a role of that name."""
    row = session.execute("SELECT 1 AS one FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    return row is not None


def role_can_log_in(session: Connection, role: str) -> bool:
    """Say whether there is a role of that name that is of use to anybody."""
    row = session.execute(
        "SELECT 1 AS one FROM pg_roles WHERE rolname = %s AND rolcanlogin", (role,)
    ).fetchone()
    return row is not None


@contextmanager
def powerless_role(
    database: Database, side: str, live: str, owner: str, role: str, *, may_stay: bool = False
) -> Iterator[str]:
    """Make a role that owns a copy and changes nothing in live, for the time of the block.

    It has the rights that everybody (PUBLIC) has there: what it may create or call, its
    transactions keep it from, which are read-only; what everybody may read, it may read.

    Args:
        database: The database under care.
        side: Name of the copy.
        live: Name of the live database.
        owner: Owner of both, to whom the copy is given back.
        role: Name of the role.
        may_stay: As in `remove_role`.

    Yields:
        Its password.

    Raises:
        PreconditionFailed: Everybody may write to live, so the role might as well.
    """
    password = secrets.token_urlsafe(24)
    try:
        _make(database, side, owner, role, password, may_stay=may_stay)
        _keep_read_only(database, live, role)
        _insist_on_powerless(database, live, role)
        yield password
    finally:
        remove_role(database, side, owner, role, may_stay=may_stay)


def remove_role(
    database: Database, side: str, owner: str, role: str, *, may_stay: bool = False
) -> None:
    """Give the copy back to its owner, and drop the role; gone already is fine.

    Args:
        database: The database under care.
        side: Name of the copy.
        owner: Who gets back what the role owns there.
        role: Name of the role.
        may_stay: Whether it is only kept from logging in where a grant or a default privilege
            in the copy names it: it is dropped when the copy is gone.
    """
    with database.connect(elsewhere(database)) as session:
        if not role_exists(session, role):
            return
        if find_database(session, side):
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                (role,),
            )
            with database.connect(side) as inside:
                give_all_to(inside, role, owner)
            session.execute(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(
                    sql.Identifier(side), sql.Identifier(role)
                )
            )
        try:
            session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        except RemediationError as error:
            if not may_stay or sqlstate(error) != _HAS_DEPENDENTS:
                raise
            session.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))


def _make(
    database: Database, side: str, owner: str, role: str, password: str, *, may_stay: bool
) -> None:
    remove_role(database, side, owner, role, may_stay=may_stay)
    with database.connect(elsewhere(database)) as session:
        make = "ALTER" if role_exists(session, role) else "CREATE"
        session.execute(
            sql.SQL(f"{make} ROLE {{}} LOGIN NOINHERIT CONNECTION LIMIT 5 PASSWORD {{}}").format(
                sql.Identifier(role), scram_verifier(session, role, password)
            )
        )
        session.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))
        session.execute(
            sql.SQL("GRANT ALL ON DATABASE {} TO {}").format(
                sql.Identifier(side), sql.Identifier(role)
            )
        )
    with database.connect(side) as session:
        give_all_to(session, owner, role)


def _keep_read_only(database: Database, live: str, role: str) -> None:
    """Have its transactions in live be read-only: PUBLIC may create in public before 15."""
    with database.connect(elsewhere(database)) as session:
        session.execute(
            sql.SQL("ALTER ROLE {} IN DATABASE {} SET default_transaction_read_only = on").format(
                sql.Identifier(role), sql.Identifier(live)
            )
        )


def _insist_on_powerless(database: Database, live: str, role: str) -> None:
    with database.connect(live) as session:
        row = session.execute(_WRITABLE, {"role": role}).fetchone()
    if row and row["n"]:
        raise PreconditionFailed(
            expected=f"a role without any right to write in {live}.",
            found=f"everybody (PUBLIC) may write to {row['n']} of its relations.",
            state="The live database is untouched.",
            todo=f"REVOKE those rights from PUBLIC in {live}, then run again.",
        )
