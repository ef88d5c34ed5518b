"""The restore that put the live database in place, and the database that it keeps."""

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from tasks.database.catalogue import DatabaseFacts, elsewhere, inspect_database, name_of
from tasks.database.copies.kept import KeptDatabase, find_kept_databases
from tasks.database.restore.cutover import SwapDatabases
from tasks.database.restore.loading import LoadBackup
from tasks.database.rights import find_foreign, grant_of
from tasks.guardrails.case import Case
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

_RESTORE = "restore_from_backup"
# By their kinds: what is read here is not planned again.
_SWAP, _LOAD = SwapDatabases.kind, LoadBackup.kind


@dataclass(frozen=True)
class Restored:
    """A restore whose database is live, with the one that it keeps.

    Args:
        remediation: Id of the restore.
        swap: How it put its copy in place.
        kept: The database that it keeps, closed.
        taken: When its backup was taken, UTC; None where that was not recorded.
    """

    remediation: str
    swap: SwapDatabases
    kept: KeptDatabase
    taken: datetime | None


@probe
def find_restored(target: str, remediation: str) -> Restored:
    """Find the restore behind the live database, and the database that it keeps.

    Args:
        target: Name of the target.
        remediation: Id of the restore; '' for the one whose database is live.

    Returns:
        The restore.

    Raises:
        PreconditionFailed: There is none, its database is not live any more, or what it kept is
            gone or open.
    """
    database = targets.load(target).database
    with database.connect(elsewhere(database)) as session:
        live = inspect_database(session, database.name)
        _require_rights(session, live)
        case, swap = _find_swap(Ledger(), target, remediation, live)
        present = name_of(session, swap.live_oid)
    kept = next((one for one in find_kept_databases(target) if one.oid == swap.live_oid), None)
    if kept is None:
        raise PreconditionFailed(
            expected=f"{swap.kept}, which the restore {case.id} kept until "
            f"{swap.kept_until:%Y-%m-%d %H:%M} UTC, on the server and closed.",
            found=f"it is there as {present}, and open or without the mark of the restore."
            if present
            else "it is gone: dropped, and the rows that only it had with it.",
            todo=f"Close it (ALTER DATABASE {present} ALLOW_CONNECTIONS false) when nobody needs "
            "it open, then run again."
            if present
            else "Nothing can be carried over from it any more. A later restore keeps another.",
        )
    return Restored(case.id, swap, kept, _taken(case))


def reread_restored(target: str, remediation: str) -> Restored:
    """Read a restore again while the database that it keeps is open for us.

    Args:
        target: Name of the target.
        remediation: Id of the restore.

    Returns:
        The restore.
    """
    database = targets.load(target).database
    with database.connect(elsewhere(database)) as session:
        live = inspect_database(session, database.name)
        case, swap = _find_swap(Ledger(), target, remediation, live)
        facts = inspect_database(session, swap.kept)
    kept = KeptDatabase(
        name=facts.name,
        oid=facts.oid,
        remediation=case.id,
        comment=facts.comment,
        until=swap.kept_until,
        size=facts.size,
        target=case.target,
    )
    return Restored(case.id, swap, kept, _taken(case))


def _taken(case: Case) -> datetime | None:
    """Read when the backup was taken from the first stage of its restore."""
    for record in case.stages:
        for change in record.stage.changes:
            if change.kind == _LOAD:
                return cast("LoadBackup", change).taken
    return None


def _find_swap(
    ledger: Ledger, target: str, remediation: str, live: DatabaseFacts
) -> tuple[Case, SwapDatabases]:
    """Find the restore whose copy is the live database; names tell nothing, OIDs do."""
    asked = [
        entry.remediation
        for entry in ledger.entries(kinds=("requested",))
        if entry.facts["name"] == _RESTORE
    ]
    if remediation and remediation not in asked:
        raise PreconditionFailed(
            expected="the id of a restore, as `remedy runs` shows it.",
            found=f"{remediation!r}, which is none.",
            todo="Leave `remediation` empty for the restore whose database is live.",
        )
    for one in [remediation] if remediation else reversed(asked):
        case = Case.read(ledger, one)
        for swap in _swaps(case):
            if case.target == target and swap.side_oid == live.oid:
                return case, swap
    raise PreconditionFailed(
        expected=f"a restore of {target} that put the present {live.name} (OID {live.oid}) in "
        "place.",
        found=f"{remediation} did not, or was undone, or another restore came after it."
        if remediation
        else "none: it was never restored, or the restore was undone.",
        todo="See `remedy runs` for restores; rows are carried over only into the database that "
        "the restore itself put in place.",
    )


def _swaps(case: Case) -> list[SwapDatabases]:
    return [
        cast("SwapDatabases", change)
        for record in case.stages
        for change in case.standing(record)
        if change.kind == _SWAP
    ]


def _require_rights(session: Connection, live: DatabaseFacts) -> None:
    """Insist that we may act as the owner: its tables are written, its database is opened."""
    owner = live.shape.owner
    row = session.execute("SELECT current_user::text AS name").fetchone() or {"name": ""}
    if find_foreign(session, [owner], row["name"]):
        raise PreconditionFailed(
            expected=f"the maintenance user {row['name']} to have the rights of {owner}, who owns "
            f"{live.name}.",
            found="it is no member of it, or one that may not act as it.",
            todo=f"As a superuser: {grant_of(owner, row['name'], session.info.server_version)}",
        )
