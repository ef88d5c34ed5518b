"""Verification of the ledger: the first entry that is not what was written, and why.

The chain shows an edit, a gap, an insertion or another order by itself. What it cannot show
is that its end is missing or that the whole is an older copy: only an anchor, a signed head
kept elsewhere, shows that. The key file is one: it says behind which entry a key was rotated.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tasks.guardrails import anchors, ledger_errors
from tasks.guardrails.anchors import Anchor
from tasks.guardrails.entries import GENESIS, Entry
from tasks.guardrails.key_in_force import ROTATED
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import ENTRIES

_PAGE = 1000
_BEFORE_ALL = -(2**63)  # where somebody may have put one that nobody else reads


@dataclass(frozen=True)
class Fault:
    """The first thing that is wrong.

    Args:
        seq: Sequence number of the entry.
        kind: 'missing', 'edited', 'signature', 'order', 'anchor' or 'truncated'.
        why: A sentence for people.
    """

    seq: int
    kind: str
    why: str


@dataclass(frozen=True)
class Verified:
    """What was found.

    Args:
        entries: How many entries were read and are sound.
        head: Sequence number of the last of them, 0 where there is none.
        head_hash: Its hash.
        fault: The first thing that is wrong; None where nothing is.
        anchored: Sequence number up to which an anchor vouches, 0 for none.
        anchors: Where the anchors are that were read.
        unanchored_since: Time of the first entry that no anchor vouches for, '' for none.
        foreign_anchors: Lines among the anchors that we did not sign: they prove nothing.
    """

    entries: int
    head: int
    head_hash: str
    fault: Fault | None
    anchored: int
    anchors: tuple[str, ...]
    unanchored_since: str
    foreign_anchors: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault is None

    def sentence(self) -> str:
        """Say the whole for people."""
        if self.fault:
            return f"NOT SOUND at entry {self.fault.seq}: {self.fault.why}"
        said = f"{self.entries} entries, one unbroken chain, each signed with our key."
        if not self.anchors:
            return (
                f"{said} No anchor is configured (REMEDY_LEDGER_ANCHORS): an older copy of the "
                f"whole would not be noticed, since {self.unanchored_since or 'now'}."
            )
        if self.unanchored_since:
            return (
                f"{said} Anchored up to entry {self.anchored} in {', '.join(self.anchors)}; "
                f"unanchored since {self.unanchored_since}."
            )
        return f"{said} Anchored to its end in {', '.join(self.anchors)}."


def verify(ledger: Ledger) -> Verified:
    """Walk the whole chain, and compare it with the anchors.

    Args:
        ledger: The ledger. It is read in pages, so its size does not matter.

    Returns:
        What was found.
    """
    places = tuple(ledger.config.ledger_anchors.split())
    known = anchors.read(ledger.config.ledger_anchors)
    ours = [
        one
        for one in known
        if ledger.keys.is_signed(anchors.signed_text(one.seq, one.hash), one.signature, one.seq)
    ]
    chain = _Chain(ledger, ours)
    fault = chain.walk(stream(ledger)) or chain.missing_end()
    return Verified(
        entries=chain.read,
        head=chain.last.seq if chain.last else 0,
        head_hash=chain.last.hash if chain.last else GENESIS,
        fault=fault,
        anchored=chain.anchored,
        anchors=places,
        unanchored_since=chain.unanchored_since,
        foreign_anchors=len(known) - len(ours),
    )


def stream(ledger: Ledger, after: int = _BEFORE_ALL) -> Iterator[Entry]:
    """Read all entries in order, a page at a time, as they stand there: unverified.

    Args:
        ledger: The ledger.
        after: Only those behind this sequence number.

    Yields:
        The entries.

    Raises:
        LedgerBroken: The database is damaged so that nothing can be read.
    """
    while True:
        query = sa.select(ENTRIES).where(ENTRIES.c.seq > after).order_by(ENTRIES.c.seq).limit(_PAGE)
        try:
            page = [Entry(**row._mapping) for row in ledger.read(query)]  # noqa: SLF001 - SQLAlchemy's public name
        except DBAPIError as error:
            raise ledger_errors.not_read(error) from error
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].seq


class _Chain:
    """The walk along the chain."""

    def __init__(self, ledger: Ledger, known: Iterable[Anchor]) -> None:
        """Start before the first entry."""
        self._keys = ledger.keys
        self._anchors: dict[int, list[Anchor]] = {}
        for anchor in known:
            self._anchors.setdefault(anchor.seq, []).append(anchor)
        self.last: Entry | None = None
        self.read = self.anchored = 0
        self.unanchored_since = ""

    def walk(self, entries: Iterable[Entry]) -> Fault | None:
        """Go along until something is wrong."""
        for entry in entries:
            fault = self._look(entry)
            if fault:
                return fault
            self.last = entry
            self.read += 1
            if entry.seq in self._anchors:
                self.anchored, self.unanchored_since = entry.seq, ""
            elif not self.unanchored_since:
                self.unanchored_since = entry.at
        return None

    def missing_end(self) -> Fault | None:
        """Say whether an anchor knows of entries behind the last one."""
        end = self.last.seq if self.last else 0
        beyond = [one for seq in self._anchors if seq > end for one in self._anchors[seq]]
        rotated = self._keys.rotated_after
        if beyond:
            newest = max(beyond, key=lambda anchor: anchor.seq)
            saw = f"the anchor in {newest.where} saw entry {newest.seq} at {newest.at}"
        elif rotated and rotated >= end:
            saw = f"its key was rotated behind entry {rotated}"
        else:
            return None
        return Fault(
            end + 1,
            "truncated",
            f"the ledger ends at entry {end}, and {saw}: the end was cut off, or this is an older "
            "copy.",
        )

    def _look(self, entry: Entry) -> Fault | None:
        expected = self.last.seq + 1 if self.last else 1
        previous = self.last.hash if self.last else GENESIS
        if entry.seq != expected:
            return _out_of_place(entry.seq, expected)
        if entry.computed_hash() != entry.hash:
            return Fault(
                entry.seq, "edited", f"its contents were edited after {entry.at}: hash differs."
            )
        if not self._keys.is_signed(entry.hash, entry.signature, entry.seq):
            return Fault(entry.seq, "signature", self._whose(entry))
        if entry.previous != previous:
            return Fault(
                entry.seq,
                "order",
                f"it does not follow entry {expected - 1}: one was inserted, exchanged or "
                "removed, or their order was changed.",
            )
        for anchor in self._anchors.get(entry.seq, []):
            if anchor.hash != entry.hash:
                return Fault(
                    entry.seq,
                    "anchor",
                    f"the anchor in {anchor.where} saw another entry here at {anchor.at}: this "
                    "ledger is another one from before there on.",
                )
        return None

    def _whose(self, entry: Entry) -> str:
        """Say what can be said of a signature that does not count."""
        last = self._keys.retired_after(entry.hash, entry.signature)
        if last is not None:
            return (
                f"it is signed with a key that was rotated behind entry {last}: whoever has that "
                "key wrote it."
            )
        if entry.kind == ROTATED:
            return (
                "it is not signed with our key: this key is older than the one it was rotated to, "
                "or somebody else wrote it."
            )
        return "it is not signed with our key: somebody else wrote it."


def _out_of_place(seq: int, expected: int) -> Fault:
    if seq < expected:
        return Fault(seq, "order", "nothing comes before entry 1: it was inserted.")
    many = f"entries {expected} to {seq - 1} are" if seq > expected + 1 else ""
    return Fault(expected, "missing", f"{many or f'entry {expected} is'} missing.")
