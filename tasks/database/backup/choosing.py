"""Which backup to restore: the newest that is sound and this database's, or the one named."""

from dataclasses import dataclass
from typing import NoReturn

from tasks.database.backup.backups import Backup, find_backups, read_backup
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Backups, Database

NEWEST = "newest"
_LISTED = 10
_COMMON_SHARE = 0.5


@dataclass(frozen=True)
class Choice:
    """The backup that was chosen, and what became of the others.

    Args:
        chosen: The backup, read to its end.
        judged: Name, time and verdict of each that was looked at, newest first.
    """

    chosen: Backup
    judged: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Wanted:
    """What a backup has to fit.

    Args:
        database: Name of the live database.
        tables: Its tables, as 'schema.table'.
        major: Major version of its server.
        revision_table: Name of the table with the schema's revision.
    """

    database: str
    tables: frozenset[str]
    major: int
    revision_table: str


def choose_backup(database: Database, store: Backups, name: str, wanted: Wanted) -> Choice:
    """Choose the backup to restore.

    Args:
        database: Whose programs read archives.
        store: Where the backups lie.
        name: Name of a backup, or 'newest'.
        wanted: What it has to fit.

    Returns:
        The choice.

    Raises:
        PreconditionFailed: There is none, or none that may be used; says why of each.
    """
    entries = find_backups(store)
    if not entries:
        raise PreconditionFailed(
            expected="a backup in the target's store.",
            found="the store is empty.",
            todo="Correct the store in the target, or take a backup: remedy run back_up_database.",
        )
    if name != NEWEST:
        there = [entry.name for entry in entries]
        entries = [entry for entry in entries if entry.name == name]
        if not entries:
            _refuse_name(name, there)
    judged: list[tuple[str, str, str]] = []
    for at, entry in enumerate(entries):
        backup = read_backup(database, store, entry, wanted.revision_table)
        why = refusal(backup, wanted)
        judged.append((backup.name, f"{backup.taken:%Y-%m-%d %H:%M:%S}", why or "sound, chosen"))
        if not why:
            judged += [
                (other.name, f"{other.modified:%Y-%m-%d %H:%M:%S}", "older, not read")
                for other in entries[at + 1 : at + 1 + _LISTED]
            ]
            return Choice(backup, tuple(judged))
    reasons = "; ".join(f"{one}: {why}" for one, _, why in judged[:_LISTED])
    raise PreconditionFailed(
        expected=f"backup {name} to be usable." if name != NEWEST else "a backup that is usable.",
        found=f"{reasons}.",
        todo="Choose another with `backup=`, or bring a sound one into the store.",
    )


def refusal(backup: Backup, wanted: Wanted) -> str:
    """Say why a backup may not be used; '' where it may.

    Args:
        backup: The backup, read.
        wanted: What it has to fit.

    Returns:
        A reason without a full stop.
    """
    # First: the programs of an older server cannot read it, which says less.
    if backup.server_major > wanted.major:
        return (
            f"it was taken from PostgreSQL {backup.server_version}, newer than the server's "
            f"{wanted.major}"
        )
    if backup.problem:
        return backup.problem
    if backup.database and backup.database != wanted.database:
        return f"it is a backup of database {backup.database}, not of {wanted.database}"
    held = set(backup.created)
    if wanted.tables and held and len(held & wanted.tables) < _COMMON_SHARE * len(wanted.tables):
        return (
            f"it is another database's: it has {len(held & wanted.tables)} of the "
            f"{len(wanted.tables)} tables of {wanted.database}"
        )
    if not held:
        return "it creates no table"
    return ""


def _refuse_name(name: str, there: list[str]) -> NoReturn:
    more = f" and {len(there) - _LISTED} more" if len(there) > _LISTED else ""
    raise PreconditionFailed(
        expected=f"a backup named {name!r}.",
        found=f"none; there are {', '.join(there[:_LISTED])}{more}.",
        todo="Give one of those names, or 'newest'.",
    )
