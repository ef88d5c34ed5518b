"""Whether a server and its maintenance user can take a backup, found before anything is made."""

from collections.abc import Iterable

from tasks.database.backup.archive import DIAGNOSTIC
from tasks.database.backup.backups import Backup
from tasks.database.backup.scan import Scan
from tasks.database.catalogue import is_superuser
from tasks.database.rights import DATABASE_OWNER, Rights, find_foreign, grant_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Connection

_FIRST_ROLE = 10  # OID of the superuser that initdb made
_PUBLIC_OF_DATABASE_SINCE = 150000


def leaves_public(session: Connection, held: Backup | Scan) -> bool:
    """Say whether a backup's owner of the schema public is left out when it is loaded.

    Before PostgreSQL 15 that schema is the first superuser's in every database, and a newer
    pg_dump gives it to that one by a statement that only a superuser may run.

    Args:
        session: A session of the maintenance user in any database of the server.
        held: The backup, read.
    """
    row = session.execute(
        "SELECT oid::bigint AS oid, rolsuper AS super FROM pg_roles WHERE rolname = %s",
        (held.public_owner,),
    ).fetchone()
    if row is None:
        return False
    if session.info.server_version < _PUBLIC_OF_DATABASE_SINCE:
        return bool(row["oid"] == _FIRST_ROLE)  # a new database has it so by itself
    return bool(row["super"]) and not is_superuser(session)


def _owners(session: Connection, held: Backup | Scan) -> set[str]:
    """Give the roles to which objects are given when a backup is loaded."""
    given = {held.public_owner} if held.public_owner and not leaves_public(session, held) else set()
    return {*held.owners, *given}


def require_fit(session: Connection, backup: Backup, rights: Rights, owner: str) -> tuple[str, ...]:
    """Refuse a backup that this server cannot take: version, roles, extensions.

    Args:
        session: A session in any database of the server.
        backup: The backup, read.
        rights: What the maintenance user may do.
        owner: Owner of the live database.

    Returns:
        What of it only a superuser may make, so that it is not loaded as the owner.

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
    _require_roles(session, backup)
    left_out = DIAGNOSTIC if backup.diagnostic and not rights.superuser else frozenset()
    wanted = [name for name in backup.extensions if name not in left_out]
    needing = _require_extensions(session, backup, wanted)
    if needing and not rights.superuser:
        raise PreconditionFailed(
            expected="a backup that can be loaded without a superuser.",
            found=f"{backup.name} creates {', '.join(needing)}: only a superuser may.",
            todo="Give the target a superuser as maintenance user for this restore.",
        )
    if not rights.superuser:
        require_owners(session, backup, rights.user, owner)
    return beyond_owner(session, backup, owner)


def _require_roles(session: Connection, backup: Backup) -> None:
    rows = session.execute("SELECT rolname AS name FROM pg_roles").fetchall()
    known = {row["name"] for row in rows}
    if missing := sorted({*backup.roles, *_owners(session, backup)} - known):
        raise PreconditionFailed(
            expected="every role that the backup names to be on the server.",
            found=f"{backup.name} names {', '.join(missing)}, which the server has not.",
            todo="Create them (CREATE ROLE …), from the .roles.sql beside the backup.",
        )


def _require_extensions(session: Connection, backup: Backup, wanted: list[str]) -> list[str]:
    rows = session.execute(
        "SELECT name FROM pg_available_extensions WHERE name = ANY (%s)", (wanted,)
    ).fetchall()
    if absent := sorted(set(wanted) - {row["name"] for row in rows}):
        raise PreconditionFailed(
            expected="every extension that the backup creates to be installed on the server.",
            found=f"{backup.name} creates {', '.join(absent)}, which the server has not.",
            todo="Install their packages on the server's host.",
        )
    return _untrusted(session, wanted)


def _untrusted(session: Connection, extensions: Iterable[str]) -> list[str]:
    """Give those that only a superuser may create; plpgsql is there in every database."""
    rows = session.execute(
        """SELECT name FROM pg_available_extension_versions WHERE name = ANY (%s)
           AND name <> 'plpgsql' GROUP BY name HAVING bool_or(superuser AND NOT trusted)
           ORDER BY name""",
        (list(extensions),),
    ).fetchall()
    return [row["name"] for row in rows]


def require_owners(session: Connection, held: Backup | Scan, user: str, owner: str) -> None:
    """Refuse a backup whose objects a user that is no superuser could not give to their owners.

    Args:
        session: A session in any database of the server.
        held: The backup, read.
        user: The maintenance user.
        owner: Owner of the live database, as whom the user may act.

    Raises:
        PreconditionFailed: Names the roles.
    """
    others = _owners(session, held) - {owner, DATABASE_OWNER}
    every = others | set(held.defaulting)
    rows = session.execute(
        """SELECT rolname AS name FROM pg_roles WHERE rolname = ANY (%(every)s) AND rolsuper
             -- Rights in schemas are loaded last; before them only the owner's rights count.
             OR rolname = ANY (%(others)s) AND NOT pg_has_role(oid, %(owner)s, 'USAGE')
           ORDER BY rolname""",
        {"every": list(every), "others": list(others), "owner": owner},
    ).fetchall()
    if rows:
        raise PreconditionFailed(
            expected="a backup that can be loaded without a superuser.",
            found=f"it holds objects or default rights of {', '.join(row['name'] for row in rows)}"
            f", superusers or without the rights of {owner}.",
            todo="Give the target a superuser as maintenance user.",
        )
    if foreign := find_foreign(session, every, user):
        version = session.info.server_version
        raise PreconditionFailed(
            expected=f"the maintenance user {user} to be able to act as every role that owns "
            "something in the backup.",
            found=f"it may not act as {', '.join(foreign)}.",
            todo=f"As a superuser: {'; '.join(grant_of(one, user, version) for one in foreign)}.",
        )


def beyond_owner(session: Connection, held: Backup | Scan, owner: str) -> tuple[str, ...]:
    """Find what of a backup cannot be loaded with no more rights than the database's owner has.

    Args:
        session: A session in any database of the server.
        held: The backup, read.
        owner: Owner of the live database.

    Returns:
        'extension x', 'objects of y', 'default rights of z'; nothing where all of it can.
    """
    others = _owners(session, held) - {owner, DATABASE_OWNER}
    return (
        *(f"extension {name}" for name in _untrusted(session, held.extensions)),
        *(f"objects of {role}" for role in sorted(others)),
        *(f"default rights of {role}" for role in find_foreign(session, held.defaulting, owner)),
    )
