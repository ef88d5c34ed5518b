"""What the comment of a kept database says of rows that were carried over from it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tasks.database.catalogue import find_database, name_of
from tasks.database.marks import comment_on
from tasks.platforms.protocols import Connection

KIND = "database.carry_rows_over"
_TAKING = r"; taking rows of {} back at xid (\d+)"
_TAKEN = re.compile(r"back at xid (\d+)")
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


def note_taking_back(session: Connection, kept_oid: int, remediation: str, xid: int) -> None:
    """Note the transaction that takes a remediation's rows back, before it is committed."""

    def note(comment: str) -> str:
        bare = re.sub(_TAKING.format(re.escape(remediation)), "", comment)
        return f"{bare}; taking rows of {remediation} back at xid {xid}"

    _change(session, kept_oid, note)


def read_taking_back(comment: str, remediation: str) -> int | None:
    """Read the transaction that took a remediation's rows back; None where nothing is said."""
    found = re.search(_TAKING.format(re.escape(remediation)), comment)
    return int(found[1]) if found else None


def read_taken_back(comment: str) -> tuple[int, ...]:
    """Read the transactions that took rows back: what they wrote is as it was restored."""
    return tuple(int(one) % 2**32 for one in _TAKEN.findall(comment))


def forget_carried(session: Connection, kept_oid: int, remediation: str) -> None:
    """Remove what is said of a remediation, but for the transaction that took its rows back."""

    def forget(comment: str) -> str:
        bare = _pattern(remediation).sub("", comment)
        return re.sub(_TAKING.format(re.escape(remediation)), r"; rows taken back at xid \1", bare)

    _change(session, kept_oid, forget)


def _pattern(remediation: str) -> re.Pattern[str]:
    return re.compile(_NOTE.format(re.escape(remediation)))


def _rewrite(session: Connection, kept_oid: int, remediation: str, note: str) -> None:
    _change(session, kept_oid, lambda comment: _pattern(remediation).sub("", comment) + note)


def _change(session: Connection, kept_oid: int, change: Callable[[str], str]) -> None:
    """Change a comment, but for its end, which says for whom the database is open."""
    name = name_of(session, kept_oid)
    facts = find_database(session, name) if name else None
    if facts is not None:
        before, opened, by = facts.comment.partition("; open for remedy ")
        session.execute(comment_on(facts.name, f"{change(before)}{opened}{by}"))
