"""What a restore needs of the server and the maintenance user, found before anything is made."""

from dataclasses import dataclass, field

from tasks.database.archive import DIAGNOSTIC
from tasks.database.backups import Backup
from tasks.database.catalogue import DatabaseFacts
from tasks.database.marks import read_mark
from tasks.guardrails.errors import PreconditionFailed, TargetBusy
from tasks.platforms.protocols import Connection


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
    row = (
        session.execute(
            """SELECT current_user AS name, rolsuper AS superuser, rolcreatedb AS createdb,
                 rolcreaterole AS createrole,
                 pg_has_role(%s, 'MEMBER') AS member,
                 pg_has_role('pg_signal_backend', 'USAGE') AS signal
               FROM pg_roles WHERE rolname = current_user""",
            (live.shape.owner,),
        ).fetchone()
        or {}
    )
    rights = Rights(row["name"], row["superuser"], row["superuser"] or row["createrole"])
    if rights.superuser:
        return rights
    owner = live.shape.owner
    if not row["createdb"]:
        rights.missing.append(f"CREATEDB (ALTER ROLE {rights.user} CREATEDB)")
    if not row["member"]:
        rights.missing.append(f"membership in {owner} (GRANT {owner} TO {rights.user})")
    if not row["signal"]:
        rights.missing.append(f"pg_signal_backend (GRANT pg_signal_backend TO {rights.user})")
    return rights


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


def require_fit(session: Connection, backup: Backup, rights: Rights) -> tuple[str, ...]:
    """Refuse a backup that this server cannot take: version, roles, extensions.

    Args:
        session: A session in any database of the server.
        backup: The backup, read.
        rights: What the maintenance user may do.

    Returns:
        Extensions for which it has to be loaded as a superuser.

    Raises:
        PreconditionFailed: Names what does not fit.
    """
    major = session.info.server_version // 10000
    if backup.server_major > major:
        raise PreconditionFailed(
            expected=f"a backup of PostgreSQL {major} or older.",
            found=f"{backup.name} was taken from version {backup.server_version}.",
            todo=f"Choose an older backup, or bring the server to {backup.server_major} first.",
        )
    known = {
        row["name"]: row["member"]
        for row in session.execute(
            "SELECT rolname AS name, pg_has_role(oid, 'MEMBER') AS member FROM pg_roles"
        ).fetchall()
    }
    missing = [role for role in backup.roles if role not in known]
    if missing:
        raise PreconditionFailed(
            expected="every role that the backup names to be on the server.",
            found=f"{backup.name} names {', '.join(missing)}, which the server has not.",
            todo="Create them (CREATE ROLE …), from the .roles.sql beside the backup.",
        )
    available = {
        row["name"]: row
        for row in session.execute(
            """SELECT name, bool_or(superuser AND NOT trusted) AS superuser
               FROM pg_available_extension_versions GROUP BY name"""
        ).fetchall()
    }
    left_out = DIAGNOSTIC if backup.diagnostic and not rights.superuser else frozenset()
    wanted = [name for name in backup.extensions if name not in {"plpgsql", *left_out}]
    if absent := [name for name in wanted if name not in available]:
        raise PreconditionFailed(
            expected="every extension that the backup creates to be installed on the server.",
            found=f"{backup.name} creates {', '.join(absent)}, which the server has not.",
            todo="Install their packages on the server's host.",
        )
    needing = [name for name in wanted if available[name]["superuser"]]
    if needing and not rights.superuser:
        raise PreconditionFailed(
            expected="a backup that can be loaded without a superuser.",
            found=f"{backup.name} creates {', '.join(needing)}: only a superuser may.",
            todo="Give the target a superuser as maintenance user for this restore.",
        )
    return tuple(needing)


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
