"""One look each at what may keep the application from logging in to its database."""

import enum
import socket
from contextlib import closing

from tasks.application.answers import ask_application
from tasks.application.login import LoginVariables
from tasks.application.settings_change import find_stale
from tasks.database.logins.roles import find_role, may_log_in
from tasks.database.logins.verifiers import fits
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Verdict, Work
from tasks.guardrails.remediation import remediation_id
from tasks.platforms.protocols import Connection, Database, System

# What ends the password in a database's URL, or is read as something else there.
_NOT_IN_URLS = frozenset("@:/?#%[]\\ ")


class Wrong(enum.StrEnum):
    """What may be wrong with how the application logs in."""

    ADDRESS = "address"
    DATABASE = "database"
    MISSING = "missing"
    CLOSED = "closed"
    EXPIRED = "expired"
    NO_CONNECT = "no_connect"
    PASSWORD = "password"  # noqa: S105 - no password
    UNFIT = "unfit"
    KEPT_OUT = "kept_out"
    STALE = "stale"


def works(
    database: Database, variables: LoginVariables, shown: dict[str, str], password: str
) -> bool:
    """Log in with all that the application has, and see that it is this server's database.

    Args:
        database: The database under care.
        variables: Names of the application's settings.
        shown: Its settings that are no secrets, as far as they are set.
        password: Its password.

    Returns:
        Whether that goes well.
    """
    if not password:
        return False
    began = "SELECT pg_postmaster_start_time()::text AS began, current_database() AS name"
    try:
        with closing(
            database.log_in(
                shown[variables.user],
                password,
                shown.get(variables.database),
                host=shown.get(variables.host),
                port=shown.get(variables.port),
            )
        ) as session:
            theirs = session.execute(began).fetchone()
    except (PreconditionFailed, Transient):
        return False
    with database.connect() as session:
        return theirs == session.execute(began).fetchone()


def of_address(
    database: Database, variables: LoginVariables, shown: dict[str, str]
) -> dict[Wrong, str]:
    """Compare the server and the database that it asks for with the target's.

    Args:
        database: The database under care.
        variables: Names of the application's settings.
        shown: Its settings that are no secrets, as far as they are set.

    Returns:
        What is wrong, with a sentence each.
    """
    wrong = {}
    host, port = shown.get(variables.host), shown.get(variables.port)
    right_host, right_port = database.address
    there = f"{right_host}:{right_port}"
    other = port is not None and port != right_port
    if other or (host is not None and not same_host(host, right_host)):
        wrong[Wrong.ADDRESS] = (
            f"it connects to {host or 'its default'}:{port or 'its default'}, and the server is "
            f"{there}"
        )
    name = shown.get(variables.database)
    if name is not None and name != database.name:
        wrong[Wrong.DATABASE] = f"it asks for database {name} instead of {database.name}"
    return wrong


def same_host(one: str, other: str) -> bool:
    """Say whether two names lead to the same machine.

    Args:
        one: A name or an address.
        other: Another one.

    Returns:
        Whether they share an address; where one cannot be resolved, whether they are equal.
    """
    try:
        found = [{info[4][0] for info in socket.getaddrinfo(name, None)} for name in (one, other)]
    except OSError:
        return one == other
    return bool(found[0] & found[1])


def of_role(session: Connection, database: str, user: str) -> tuple[dict[Wrong, str], str]:
    """Look whether its role is there, and may log in to the database.

    Args:
        session: A session in any database of the server.
        database: Name of the database.
        user: Name of the role.

    Returns:
        What is wrong, with a sentence each, and when its password ceased to be valid.
    """
    role = find_role(session, user)
    if role is None:
        return {Wrong.MISSING: f"the server has no role {user}"}, ""
    wrong = {}
    if not role.logs_in:
        wrong[Wrong.CLOSED] = f"role {user} may not log in (NOLOGIN)"
    if role.expired:
        wrong[Wrong.EXPIRED] = f"the password of {user} was valid until {role.expires}"
    row = session.execute(
        "SELECT has_database_privilege(%s::name, %s, 'CONNECT') AS may", (user, database)
    ).fetchone()
    if not (row and row["may"]):
        wrong[Wrong.NO_CONNECT] = f"{user} has no right to CONNECT to {database}"
    return wrong, role.expires if role.expired else ""


def of_password(
    database: Database, user: str, password: str, verifier: str | None, *, refused: bool
) -> dict[Wrong, str]:
    """Say whether its password is the role's, or what else keeps it out.

    Args:
        database: The database under care.
        user: Name of the role.
        password: The password in its settings.
        verifier: What the server keeps; None where that cannot be seen.
        refused: Whether it is refused for another reason anyway.

    Returns:
        What is wrong, with a sentence.
    """
    if not password:
        return {Wrong.PASSWORD: f"its settings have no password for {user}"}
    if verifier is not None and not fits(verifier, user, password):
        return {Wrong.PASSWORD: f"the password in its settings is not the one of {user}"}
    if refused:  # for another reason, and nothing more can be learnt by trying
        return {}
    why = may_log_in(database, user, password)
    if not why:
        return {}
    if verifier is None:
        return {
            Wrong.PASSWORD: f"the server refuses {user} with the password in its settings: {why} "
            "(whether by password or by pg_hba.conf only a superuser can tell)"
        }
    return {Wrong.KEPT_OUT: f"the password is right, and the server keeps {user} out: {why}"}


def of_url(target: str, password: str) -> dict[Wrong, str]:
    """Look whether the application can make nothing of a password that the server accepts.

    Many put their database's URL together without escaping.

    Args:
        target: Name of the target.
        password: The password in its settings.

    Returns:
        What is wrong, with a sentence; nothing where the application answers its probe account.
    """
    if not _NOT_IN_URLS & set(password):
        return {}
    answer = ask_application(Work(target=target, remediation=remediation_id()), writes=False)
    if answer.verdict is not Verdict.NOT_HELD:
        return {}
    return {
        Wrong.UNFIT: "the server accepts the password, and it holds characters by which a URL "
        "that is put together without escaping leads elsewhere; users are not served "
        f"({answer.detail.rstrip('.')})"
    }


def of_replicas(system: System, variables: LoginVariables, now: dict[str, str]) -> dict[Wrong, str]:
    """Look whether each replica was started with the settings as they are now.

    Args:
        system: The target.
        variables: Names of the application's settings.
        now: Its settings.

    Returns:
        What is wrong, with a sentence.
    """
    stale = find_stale(system, variables.model_dump().values(), now)
    return {Wrong.STALE: stale} if stale else {}
