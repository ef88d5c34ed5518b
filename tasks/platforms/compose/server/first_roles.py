"""Roles and database of a server that its image's entrypoint has just made.

Source: PostgreSQL manual 22.5 (predefined roles); the entrypoint of the image postgres.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

from psycopg import sql

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.database import ComposeDatabase
from tasks.platforms.compose.project import Project
from tasks.platforms.protocols import Connection
from tasks.platforms.scram import scram_verifier

_SECRETS = Path("/run/secrets")  # where compose puts them
_PREDEFINED = ("pg_signal_backend", "pg_monitor", "pg_checkpoint")


@dataclass(frozen=True)
class Login:
    """Who logs in, and by what.

    Args:
        user: Name of the role.
        password: Its password.
    """

    user: str
    password: str = field(repr=False)


def login_in(settings: Mapping[str, str], named: Mapping[str, str]) -> Login:
    """Read the database's user and password from the settings of an application.

    Args:
        settings: Value by name.
        named: What each setting holds, as {user} and {password}, by its name.

    Raises:
        PreconditionFailed: They are not there.
    """
    names = {value: name for name, value in named.items()}
    user, password = (settings.get(names.get(part, ""), "") for part in ("{user}", "{password}"))
    if not user or not password:
        raise PreconditionFailed(
            expected="settings of the application that hold the database's user and password.",
            found="the target names none, or the compose files give them no value.",
            todo="Name them in `migrations.environment` of the target.",
        )
    return Login(user, password)


def superuser_of(project: Project, service: str) -> Login:
    """Read whom the image's entrypoint makes, as it does: from the environment or from a file.

    Args:
        project: The compose project.
        service: The database's service.

    Returns:
        Who; without a password where the image is given none.

    Raises:
        PreconditionFailed: A file that holds one of the two is not seen or not read from here.
    """
    described = project.described()
    settings = project.settings(service, described)
    files = {
        _SECRETS / str(one.get("target") or one["source"]): str(one["source"])
        for one in project.configuration(service, described).get("secrets") or []
    }
    secrets = described.get("secrets") or {}

    def said(name: str) -> str:
        if value := settings.get(name):
            return value
        if not (inside := settings.get(f"{name}_FILE")):
            return ""
        place = str((secrets.get(files.get(Path(inside), "")) or {}).get("file") or "")
        try:
            return Path(place).read_text().rstrip("\n")
        except OSError as error:
            raise PreconditionFailed(
                expected=f"to read {inside} of service {service}, which {name}_FILE names.",
                found=f"{place or 'no secret of the compose files has that place'}: "
                f"{error.strerror}.",
                todo="Have it as a `secrets` entry with a `file` that the worker's user may read.",
            ) from error

    return Login(said("POSTGRES_USER") or "postgres", said("POSTGRES_PASSWORD"))


@dataclass(frozen=True)
class FirstRoles:
    """The roles that a target needs on a new server.

    Args:
        superuser: Whom the entrypoint makes.
        maintenance: Role of remediations.
        application: Role of the application, the owner of its database.
    """

    superuser: Login
    maintenance: Login
    application: Login


def make_first_roles(database: ComposeDatabase, roles: FirstRoles) -> None:
    """Make the roles and the database that are missing; what is there stays.

    Args:
        database: The database under care.
        roles: Who is needed.

    Raises:
        Transient: The server accepts no connections yet.
        PreconditionFailed: It lets neither of the two in that may make roles.
    """
    with _open(database, roles) as session:
        known = {row["name"] for row in session.execute("SELECT rolname AS name FROM pg_roles")}
        owner = sql.Identifier(roles.application.user)
        if roles.application.user not in known:
            _create(session, roles.application, "LOGIN")
        if roles.maintenance.user not in {*known, roles.application.user}:
            _create(session, roles.maintenance, "LOGIN CREATEDB")
            helper = sql.Identifier(roles.maintenance.user)
            session.execute(sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(owner, helper))
            for role in set(_PREDEFINED) & known:
                session.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), helper))
        name = sql.Identifier(database.name)
        there = session.execute(
            "SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = %s",
            (database.name,),
        ).fetchone()
        if there is None:
            session.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(name, owner)
            )
        elif there["owner"] != roles.application.user:
            session.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, owner))


def _open(database: ComposeDatabase, roles: FirstRoles) -> Connection:
    """Connect as whoever may make roles: who the entrypoint made, else whom the target names."""
    try:
        return database.log_in(
            roles.superuser.user, roles.superuser.password, database.maintenance_database
        )
    except PreconditionFailed:
        return database.connect(database.maintenance_database)


def _create(session: Connection, login: Login, options: LiteralString) -> None:
    session.execute(
        sql.SQL("CREATE ROLE {} PASSWORD {} " + options).format(
            sql.Identifier(login.user),
            sql.Literal(scram_verifier(session, login.user, login.password)),
        )
    )
