"""What a restore needs of the maintenance user, found before anything is made."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.database.catalogue import DEFAULT_TABLESPACE, DatabaseFacts, DatabaseShape
from tasks.database.marks import read_mark
from tasks.guardrails.errors import PreconditionFailed, TargetBusy
from tasks.platforms.protocols import Connection

DATABASE_OWNER = "pg_database_owner"  # a role whose member is whoever owns a database
_GRANT_OPTIONS_SINCE = 160000


@dataclass
class Rights:
    """What the maintenance user may do.

    Args:
        user: Its name.
        superuser: Whether it is one.
        may_create_roles: Whether it may make the role that migrations run as.
        missing: What is missing, as sentences.
        notes: What stays unproved without more rights.
    """

    user: str
    superuser: bool
    may_create_roles: bool = True
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inspect_rights(session: Connection, live: DatabaseFacts) -> Rights:
    """Find what the maintenance user lacks to make a copy and to swap it in.

    Args:
        session: A session in any database of the server.
        live: The live database.

    Returns:
        What it may do and what is missing.
    """
    version = session.info.server_version
    row = (
        session.execute(
            f"""SELECT current_user AS name, rolsuper AS superuser, rolcreatedb AS createdb,
                 rolcreaterole AS createrole, pg_has_role(%(owner)s, 'MEMBER') AS member,
                 {_acts("current_user", "%(owner)s", version)} AS acts,
                 pg_has_role('pg_signal_backend', 'USAGE') AS signal,
                 pg_has_role('pg_read_all_stats', 'USAGE') AS stats,
                 has_tablespace_privilege(%(tablespace)s, 'CREATE') AS tablespace
               FROM pg_roles WHERE rolname = current_user""",  # noqa: S608 - a piece of ours
            {"owner": live.shape.owner, "tablespace": live.shape.tablespace},
        ).fetchone()
        or {}
    )
    rights = Rights(row["name"], row["superuser"], row["superuser"] or row["createrole"])
    if not rights.superuser:
        rights.missing += _missing(row, live.shape, version)
    return rights


def _missing(row: Mapping[str, Any], shape: DatabaseShape, version: int) -> Iterator[str]:
    user, owner = row["name"], shape.owner
    if not row["createdb"]:
        yield f"CREATEDB (ALTER ROLE {user} CREATEDB)"
    if version >= _GRANT_OPTIONS_SINCE and not row["acts"]:
        yield f"membership in {owner} with INHERIT and SET ({grant_of(owner, user, version)})"
    elif not row["member"]:
        yield f"membership in {owner} ({grant_of(owner, user, version)})"
    elif not row["acts"]:
        yield f"the rights of the roles it is a member of (ALTER ROLE {user} INHERIT)"
    if not row["signal"]:
        yield f"pg_signal_backend ({grant_of('pg_signal_backend', user, version)})"
    if not row["stats"]:  # the sessions of others would stay unseen that stand in the way
        yield f"pg_read_all_stats ({grant_of('pg_read_all_stats', user, version)})"
    if shape.tablespace != DEFAULT_TABLESPACE and not row["tablespace"]:
        yield (
            f"CREATE in tablespace {shape.tablespace} "
            f"(GRANT CREATE ON TABLESPACE {shape.tablespace} TO {user})"
        )


def find_foreign(session: Connection, roles: Iterable[str], user: str) -> list[str]:
    """Find the roles as which a user may not act.

    Args:
        session: A session in any database of the server.
        roles: Names of roles; those that are gone are passed over.
        user: Name of the user.

    Returns:
        Names, in order.
    """
    acts = _acts("%(user)s", "oid", session.info.server_version)
    rows = session.execute(
        f"""SELECT rolname AS name FROM pg_roles WHERE rolname = ANY (%(roles)s) AND NOT ({acts})
            ORDER BY rolname""",  # noqa: S608 - a piece of ours
        {"roles": list(roles), "user": user},
    ).fetchall()
    return [row["name"] for row in rows]


def _acts(user: str, role: str, version: int) -> str:
    """Write the condition that a user has a role's rights, and may give it what it makes.

    Since PostgreSQL 16 a membership can be without either: INHERIT FALSE, SET FALSE.
    """
    gives = "SET" if version >= _GRANT_OPTIONS_SINCE else "MEMBER"
    return f"pg_has_role({user}, {role}, 'USAGE') AND pg_has_role({user}, {role}, '{gives}')"


def grant_of(role: str, user: str, version: int) -> str:
    """Write the statement that gives a user all that a role may."""
    options = " WITH INHERIT TRUE, SET TRUE" if version >= _GRANT_OPTIONS_SINCE else ""
    return f"GRANT {role} TO {user}{options}"


def require_rights(rights: Rights) -> None:
    """Refuse where a right is missing.

    Raises:
        PreconditionFailed: Names each right and the statement that gives it.
    """
    if rights.missing:
        raise PreconditionFailed(
            expected=f"the maintenance user {rights.user} to have the rights that a restore needs.",
            found=f"it lacks {'; '.join(rights.missing)}.",
            todo="Give it the rights as a superuser, with the statements in brackets.",
        )


def require_no_other_restore(session: Connection, live: str, remediation: str) -> None:
    """Refuse while another restore of this database is under way, ours or by hand.

    Args:
        session: A session in any database of the server.
        live: Name of the live database.
        remediation: Id of the remediation that asks.

    Raises:
        TargetBusy: A restore is under way.
    """
    rows = session.execute(
        """SELECT datname AS name, shobj_description(oid, 'pg_database') AS comment
           FROM pg_database WHERE datname LIKE %s ESCAPE '~'""",
        (live[:30].replace("_", "~_").replace("%", "~%") + "%",),
    ).fetchall()
    for row in rows:
        mark = read_mark(row["comment"])
        unfinished = mark is not None and mark.state not in {"kept", "undone"}
        if mark and unfinished and mark.remediation != remediation and row["name"] != live:
            raise TargetBusy(
                expected=f"no other restore of {live}.",
                found=f"database {row['name']} is {mark.state} by remediation {mark.remediation}.",
                todo=f"Let it end, or undo it: remedy undo {mark.remediation}.",
            )
    by_hand = session.execute(
        """SELECT pid, usename AS role, application_name AS client FROM pg_stat_activity
           WHERE datname = %s AND (application_name = 'pg_restore'
             OR (application_name = 'psql' AND query ~* '^\\s*copy\\s.*\\sfrom\\s+stdin'
                 AND state = 'active'))""",
        (live,),
    ).fetchone()
    if by_hand:
        raise TargetBusy(
            expected=f"no other restore of {live}.",
            found=f"{by_hand['client']} by {by_hand['role']} (pid {by_hand['pid']}) loads into it.",
            todo="Let it end, or end it (pg_terminate_backend), then run again.",
        )
