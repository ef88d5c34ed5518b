"""The roles, the database and the extensions of Planner, on whatever server it has.

Source: PostgreSQL manual 22.5 (predefined roles).
"""

import contextlib
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.errors import DuplicateDatabase, UniqueViolation

from infra.sandbox.settings import SandboxSettings

Session = psycopg.Connection[tuple[Any, ...]]
Connect = Callable[[str], Session]
# Extensions that the maintenance user may use but not create: none is trusted.
EXTENSIONS = ("amcheck", "pg_stat_statements")
# Predefined roles of the maintenance user; pg_checkpoint came with version 15.
MAINTENANCE_ROLES = {"pg_signal_backend", "pg_monitor", "pg_checkpoint"}
_ORDINARY: LiteralString = "LOGIN NOSUPERUSER VALID UNTIL 'infinity'"


def prepare(settings: SandboxSettings, connect: Connect) -> None:
    """Make the roles and the database; what is there already is set as it shall be.

    Args:
        settings: Names and passwords.
        connect: Connects to a database as the server's superuser.
    """
    owner = sql.Identifier(settings.application_user)
    admin = sql.Identifier(settings.maintenance_user)
    with connect("postgres") as session:
        roles = _names(session, "SELECT rolname FROM pg_roles")
        for name, password, options in _roles(settings):
            verb = sql.SQL("ALTER ROLE" if name in roles else "CREATE ROLE")
            # pg_stat_statements keeps the statement; who reads it gets no password by it.
            verifier = session.pgconn.encrypt_password(password.encode(), name.encode())
            session.execute(
                sql.SQL("{} {} PASSWORD {} " + options).format(
                    verb, sql.Identifier(name), sql.Literal(verifier.decode())
                )
            )
        session.execute(sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(owner, admin))
        for role in MAINTENANCE_ROLES & roles:
            session.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), admin))
        if settings.database not in _names(session, "SELECT datname FROM pg_database"):
            # The server may still carry it out for a starter that was killed.
            with contextlib.suppress(UniqueViolation, DuplicateDatabase):
                session.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                        sql.Identifier(settings.database), owner
                    )
                )
    extend(settings, connect, settings.database)


def extend(settings: SandboxSettings, connect: Connect, database: str) -> None:
    """Create the extensions in a database, as its superuser has done for remediations.

    Args:
        settings: Names and passwords.
        connect: Connects to a database as the server's superuser.
        database: The database.
    """
    with connect(database) as session:
        there = session.execute("SELECT name FROM pg_available_extensions").fetchall()
        for name in EXTENSIONS:
            if (name,) in there:
                session.execute(f"CREATE EXTENSION IF NOT EXISTS {name}")
        session.execute(
            sql.SQL(
                "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT p.oid FROM pg_proc p"
                " JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'"
                " JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'amcheck'"
                " LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {}', f);"
                " END LOOP; END $$"
            ).format(sql.Identifier(settings.maintenance_user))
        )


def _roles(settings: SandboxSettings) -> list[tuple[str, str, LiteralString]]:
    """Give name, password and options of each role."""
    return [
        (settings.application_user, settings.application_password, _ORDINARY),
        (
            settings.maintenance_user,
            settings.maintenance_password,
            "LOGIN NOSUPERUSER CREATEDB NOCREATEROLE",
        ),
    ]


def _names(session: Session, query: LiteralString) -> set[str]:
    return {str(name) for (name,) in session.execute(query).fetchall()}
