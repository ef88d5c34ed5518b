"""Databases that a restore or its undo has kept closed, until a date."""

import re
from datetime import UTC, datetime
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from tasks.database.catalogue import elsewhere, find_database, name_of
from tasks.database.copies.side_database import drop_database
from tasks.database.marks import read_mark
from tasks.guardrails.case import Case
from tasks.guardrails.errors import WorldMoved
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.guardrails.probe import probe
from tasks.platforms import targets

_KEPT = ("kept", "undone")
_HORIZON = re.compile(r"kept until (\d{4}-\d\d-\d\d \d\d:\d\d) UTC")


class KeptDatabase(BaseModel):
    """A database that was taken out of use and is kept.

    Args:
        name: Its name.
        oid: Its OID.
        remediation: Id of the remediation that keeps it.
        comment: Its comment, which says what it is.
        until: Until when it is kept; None where its comment does not say.
        size: Bytes.
        target: Name of the target of that remediation, '' where the ledger has it not.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    oid: int
    remediation: str
    comment: str
    until: datetime | None
    size: int
    target: str

    @property
    def is_over(self) -> bool:
        """Whether its time is over."""
        return self.until is not None and self.until < datetime.now(UTC)


@probe
def find_kept_databases(target: str) -> list[KeptDatabase]:
    """List the databases that remediations keep on a target's server, the oldest horizon first.

    Args:
        target: Name of the target.

    Returns:
        Those that are closed and carry a mark of ours; of other targets on the same server too.
    """
    database = targets.load(target).database
    ledger = Ledger()
    found = []
    with database.connect(elsewhere(database)) as session:
        names = session.execute(
            "SELECT datname AS name FROM pg_database WHERE NOT datallowconn AND NOT datistemplate"
        ).fetchall()
        for row in names:
            facts = find_database(session, row["name"])
            mark = read_mark(facts.comment) if facts else None
            if facts is None or mark is None or mark.state not in _KEPT:
                continue
            found.append(
                KeptDatabase(
                    name=facts.name,
                    oid=facts.oid,
                    remediation=mark.remediation,
                    comment=facts.comment,
                    until=_horizon(facts.comment),
                    size=facts.size,
                    target=Case.read(ledger, mark.remediation).target,
                )
            )
    last = datetime.max.replace(tzinfo=UTC)
    return sorted(found, key=lambda one: (one.until or last, one.name))


def _horizon(comment: str) -> datetime | None:
    found = _HORIZON.search(comment)
    return datetime.strptime(f"{found[1]}+0000", "%Y-%m-%d %H:%M%z") if found else None


class DropKeptDatabase(Change):
    """Drop a database whose time is over.

    Args:
        name: Its name.
        oid: Its OID.
        kept_by: Id of the remediation that kept it.
        until: Until when it was kept.
        size: Bytes when it was planned.
    """

    kind: ClassVar[str] = "database.drop_kept_database"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)
    reverts: ClassVar[Reverts] = "pointless"  # it is gone; what else was done may be taken back

    name: str
    oid: int
    kept_by: str
    until: datetime
    size: int

    @property
    def title(self) -> str:
        """What the change does."""
        return f"drop {self.name} for good, kept until {self.until:%Y-%m-%d %H:%M} UTC"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.name} is closed and has {self.size / 1e6:.0f} MB", "it is gone"

    def observe(self, work: Work) -> Observed:
        """Look it up by its OID: a name may be another's by now."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            name = name_of(session, self.oid)
            facts = find_database(session, name) if name else None
        if facts is None:
            return Observed(Standing.AFTER, f"{self.name} is gone")
        mark = read_mark(facts.comment)
        is_ours = mark is not None and (mark.remediation, mark.state in _KEPT) == (
            self.kept_by,
            True,
        )
        is_ours = is_ours and _horizon(facts.comment) == self.until
        if facts.name != self.name or facts.allows_connections or not is_ours:
            return Observed(
                Standing.OTHER,
                f"OID {self.oid} is {facts.name}, "
                f"{'open' if facts.allows_connections else 'closed'}: {facts.comment!r}",
            )
        if facts.half_dropped:
            return Observed(Standing.HALF, f"{self.name} is half-dropped")
        return Observed(Standing.BEFORE, f"{self.name} is kept, closed")

    def apply(self, work: Work) -> str:
        """Drop it, unless somebody has put it to use since it was looked at.

        Raises:
            WorldMoved: It accepts connections.
        """
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            facts = find_database(session, self.name)
        if facts and facts.allows_connections and not facts.half_dropped:
            raise WorldMoved(
                expected=f"{self.name} to be closed, as it was kept.",
                found="it is open: somebody has put it to use.",
                state="It is as it was; no session in it was ended.",
                todo=f"Find out who uses it. When nobody does: ALTER DATABASE {self.name} "
                "ALLOW_CONNECTIONS false, then run again.",
            )
        drop_database(database, self.name, self.kept_by)
        return f"freed {facts.size / 1e6:.0f} MB" if facts else ""
