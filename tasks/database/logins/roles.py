"""Roles of the server: what they may, who is logged in as them, and who may change them.

Source: PostgreSQL manual, 22 "Database Roles"; CREATE ROLE, "Notes" (16 and newer).
"""

from pydantic import BaseModel, ConfigDict

from tasks.database.catalogue import elsewhere, is_superuser
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Connection, Database

_ADMIN_OPTION_SINCE = 160000
# Attribute of pg_roles -> how CREATE ROLE says it.
ATTRIBUTES = {
    "rolsuper": "SUPERUSER",
    "rolcreatedb": "CREATEDB",
    "rolcreaterole": "CREATEROLE",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}


class Role(BaseModel):
    """A role as the catalogue has it.

    Args:
        name: Its name.
        oid: Its OID.
        logs_in: Whether it can log in.
        attributes: SUPERUSER, CREATEDB, ..., as CREATE ROLE says them.
        connection_limit: Most sessions at a time; -1 for no limit.
        expires: VALID UNTIL as the server writes it; '' for never.
        expired: Whether that is over.
        comment: Its comment.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    oid: int
    logs_in: bool
    attributes: tuple[str, ...]
    connection_limit: int
    expires: str
    expired: bool
    comment: str


class Sessions(BaseModel):
    """Sessions of a role that come from the same program and place."""

    model_config = ConfigDict(frozen=True)

    program: str
    database: str
    address: str
    count: int


def connect_for_roles(database: Database) -> Connection:
    """Connect to change roles: such statements are short, and wait for nobody for long."""
    return database.connect(elsewhere(database), statement_timeout="10s", lock_timeout="3s")


def find_role(session: Connection, name: str) -> Role | None:
    """Look a role up.

    Args:
        session: A session in any database of the server.
        name: Its name.

    Returns:
        The role, or None where there is none of that name.
    """
    row = session.execute(
        """SELECT oid::bigint AS oid, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole,
             rolreplication, rolbypassrls, rolconnlimit,
             coalesce(nullif(rolvaliduntil, 'infinity')::text, '') AS expires,
             coalesce(rolvaliduntil < now(), false) AS expired,
             coalesce(shobj_description(oid, 'pg_authid'), '') AS comment
           FROM pg_roles WHERE rolname = %s""",
        (name,),
    ).fetchone()
    if row is None:
        return None
    return Role(
        name=name,
        oid=row["oid"],
        logs_in=row["rolcanlogin"],
        attributes=tuple(word for column, word in ATTRIBUTES.items() if row[column]),
        connection_limit=row["rolconnlimit"],
        expires=row["expires"],
        expired=row["expired"],
        comment=row["comment"],
    )


def find_sessions(session: Connection, role: str) -> list[Sessions]:
    """Count the sessions that logged in as a role, remediations' own left out.

    Args:
        session: A session in any database, of a role that may see others' (pg_monitor).
        role: Name of the role.

    Returns:
        By program, database and address.
    """
    rows = session.execute(
        """SELECT coalesce(nullif(application_name, ''), '(no name)') AS program,
             coalesce(datname, '') AS database,
             coalesce(host(client_addr), 'local') AS address, count(*)::int AS count
           FROM pg_stat_activity
           WHERE usename = %s AND coalesce(application_name, '') NOT LIKE 'remedy:%%'
             -- hidden from who may not read others' statistics
             AND coalesce(backend_type, 'client backend') = 'client backend'
           GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3""",
        (role,),
    ).fetchall()
    return [Sessions(**row) for row in rows]


def find_settings(session: Connection, role: str) -> list[tuple[str, str]]:
    """List what is set for a role when it logs in.

    Args:
        session: A session in any database of the server.
        role: Name of the role.

    Returns:
        Name of the database ('' for all) and 'name=value'.
    """
    rows = session.execute(
        """SELECT coalesce(d.datname, '') AS database, unnest(s.setconfig) AS setting
           FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
           LEFT JOIN pg_database d ON d.oid = s.setdatabase
           WHERE r.rolname = %s ORDER BY 1, 2""",
        (role,),
    ).fetchall()
    return [(row["database"], row["setting"]) for row in rows]


def find_own_settings(session: Connection, role: str) -> tuple[tuple[str, str], ...]:
    """List what is set for a role, but for whom it becomes; see `find_settings`."""
    found = find_settings(session, role)
    return tuple(one for one in found if not one[1].startswith("role="))


def insist_on_power(session: Connection, role: Role) -> None:
    """Make sure that the maintenance user may alter a role and grant membership in it.

    Args:
        session: A session of the maintenance user.
        role: The role.

    Raises:
        PreconditionFailed: It may not.
    """
    if is_superuser(session):
        return
    row = session.execute(
        """SELECT current_user AS me, rolcreaterole AS creates,
             pg_has_role(current_user, %s::oid, 'USAGE WITH ADMIN OPTION') AS admin
           FROM pg_roles WHERE rolname = current_user""",
        (role.oid,),
    ).fetchone() or {"me": "", "creates": False, "admin": False}
    needs_admin = session.info.server_version >= _ADMIN_OPTION_SINCE
    if "SUPERUSER" in role.attributes or not row["creates"] or (needs_admin and not row["admin"]):
        raise PreconditionFailed(
            expected=f"a maintenance user who may alter role {role.name} and make its like.",
            found=f"{row['me']} may not.",
            todo="Use a superuser, or CREATEROLE and, from PostgreSQL 16 on, the ADMIN option on "
            f"{role.name} (not enough where that one is a superuser).",
        )


def may_log_in(database: Database, user: str, password: str) -> str:
    """Try to log in.

    Args:
        database: The database under care.
        user: Name of the role.
        password: Its password.

    Returns:
        '' where that is possible, else what the server answers.

    Raises:
        Transient: The server does not answer.
    """
    try:
        database.log_in(user, password).close()
    except PreconditionFailed as error:
        return error.found
    return ""


def owns_something(session: Connection, role: str) -> bool:
    """Say whether a role owns anything in the session's database."""
    row = session.execute(
        """SELECT count(*) AS n FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
           WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' AND r.rolname = %s
             AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())""",
        (role,),
    ).fetchone()
    return bool(row and row["n"])
