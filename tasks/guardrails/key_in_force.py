"""The key in force is named by the chain: who still has an older one writes nothing more.

A rotation writes the new key beside the old one, then its entry, then puts the new key in the
place of the old one. Cut off anywhere it is finished or dropped by whoever opens the ledger
next: the entry decides, read under the lock of all writers.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import sqlalchemy as sa

from tasks.guardrails.entries import Entry
from tasks.guardrails.errors import LedgerBroken, TargetBusy
from tasks.guardrails.keys import Keys, key_file, sync_folder
from tasks.guardrails.ledger_schema import ENTRIES
from tasks.guardrails.settings import Settings

ROTATED = "key_rotated"


def draft_of(config: Settings) -> Path:
    """Give the file of a new key that is not in its place yet."""
    return key_file(config).with_name("ledger.key.new")


def insist(connection: sa.Connection, keys: Keys, head: int | None = None) -> None:
    """Make sure that no key came after ours.

    Args:
        connection: A connection to the ledger's database.
        keys: Ours.
        head: The ledger's last entry, where it has to reach to where our key came into force: an
            older key could sign what it lacks.

    Raises:
        LedgerBroken: Another key is in force, or the ledger ends too early.
    """
    newest = _newest(connection)
    if newest is not None and _key_of(newest) != keys.public:
        raise LedgerBroken(
            expected="the key that signs the ledger now.",
            found=f"an older one: {newest.actor} rotated it at {newest.at} (entry {newest.seq}).",
            todo="Start this process anew, so that it reads the new key; on another host, or where "
            "REMEDY_LEDGER_KEY is set, put it there first. If nobody rotated it: `remedy ledger "
            "verify`.",
        )
    if head is not None and keys.rotated_after >= max(head, 1):
        raise LedgerBroken(
            expected=f"more than the {keys.rotated_after} entries before the key was rotated.",
            found=f"{head}: the end was cut off, this is an older copy, or another ledger.",
            todo="Put the newest copy back. A new ledger begins with a key of its own: move the "
            "old one away.",
        )


@contextmanager
def rotating(config: Settings, *, wait: bool) -> Iterator[None]:
    """Be the only one on this host that touches the key's files.

    Args:
        config: Names their folder.
        wait: Whether to wait for another one.

    Raises:
        TargetBusy: Somebody else is at it.
    """
    path = key_file(config).with_name("ledger.key.lock")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise TargetBusy(
                expected="nobody else to rotate the ledger's key.",
                found="a rotation at work.",
                todo="Wait for it to end; `remedy ledger show --kind key_rotated` shows it then.",
            ) from error
        yield


def put_in_place(config: Settings) -> None:
    """Put the new key in the place of the old one, of which nothing is left."""
    path = key_file(config)
    draft_of(config).replace(path)
    sync_folder(path)


def settle(config: Settings, locked: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
    """Finish a rotation that was cut off behind its entry; drop one that was before it.

    Args:
        config: Names the files.
        locked: Opens a transaction that holds off all writers, also one that was killed and
            whose server still commits.
    """
    draft = draft_of(config)
    if config.ledger_key or not draft.exists():
        return
    with rotating(config, wait=True), locked() as connection:
        if not draft.exists():  # whom we waited for has done it
            return
        if _is_in_force(connection, Keys.parse(draft.read_text())):
            put_in_place(config)
        else:
            draft.unlink()


def _is_in_force(connection: sa.Connection, keys: Keys | None) -> bool:
    newest = _newest(connection)
    return (
        keys is not None
        and newest is not None
        and _key_of(newest) == keys.public
        and newest.computed_hash() == newest.hash
        and keys.is_signed(newest.hash, newest.signature)
    )


def _key_of(entry: Entry) -> object:
    """Give the key that an entry says is in force; unverified, it may be anything."""
    try:
        return entry.facts.get("key")
    except (ValueError, AttributeError):
        return None


def _newest(connection: sa.Connection) -> Entry | None:
    query = sa.select(ENTRIES).where(ENTRIES.c.kind == ROTATED).order_by(ENTRIES.c.seq.desc())
    row = connection.execute(query.limit(1)).first()
    return Entry(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name
