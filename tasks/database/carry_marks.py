"""What the comment of a kept database says of rows that were carried over from it."""

import re
from dataclasses import dataclass

from tasks.database.catalogue import find_database, name_of
from tasks.database.marks import comment_on
from tasks.platforms.protocols import Connection

KIND = "database.carry_rows_over"
_NOTE = r"; (?P<state>carrying|carried) (?P<rows>\d+) rows over by {} at xid (?P<xid>\d+)"


@dataclass(frozen=True)
class CarryNote:
    """What is said of one remediation.

    Args:
        is_done: Whether it was seen that the transaction was committed.
        rows: How many rows it carried over.
        xid: Its transaction, as a number of 64 bits.
    """

    is_done: bool
    rows: int
    xid: int


def read_note(comment: str, remediation: str) -> CarryNote | None:
    """Read what a kept database's comment says of a remediation; None where nothing."""
    found = _pattern(remediation).search(comment)
    if not found:
        return None
    return CarryNote(found["state"] == "carried", int(found["rows"]), int(found["xid"]))


def note_carrying(
    session: Connection, kept_oid: int, remediation: str, rows: int, xid: int
) -> None:
    """Note the transaction that is about to be committed."""
    note = f"; carrying {rows} rows over by {remediation} at xid {xid}"
    _rewrite(session, kept_oid, remediation, note)


def note_carried(session: Connection, kept_oid: int, remediation: str, note: CarryNote) -> None:
    """Note that it was committed: the server does not remember that for ever."""
    text = f"; carried {note.rows} rows over by {remediation} at xid {note.xid}"
    _rewrite(session, kept_oid, remediation, text)


def forget_carried(session: Connection, kept_oid: int, remediation: str) -> None:
    """Remove what is said of a remediation."""
    _rewrite(session, kept_oid, remediation, "")


def _pattern(remediation: str) -> re.Pattern[str]:
    return re.compile(_NOTE.format(re.escape(remediation)))


def _rewrite(session: Connection, kept_oid: int, remediation: str, note: str) -> None:
    name = name_of(session, kept_oid)
    facts = find_database(session, name) if name else None
    if facts is None:
        return
    bare = _pattern(remediation).sub("", facts.comment)
    before, opened, by = bare.partition("; open for remedy ")
    session.execute(comment_on(facts.name, f"{before}{note}{opened}{by}"))
