"""The change that drops what somebody's pg_repack has left that did not end."""

from typing import ClassVar

from tasks.database.vacuum.repack_remains import clear_remains, find_remains
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets


class ClearRepackRemains(Change):
    """Drop what somebody's pg_repack has left that did not end.

    Args:
        oid: OID of the table that it was to write anew.
        table: Its schema and name.
        left: What is there.
    """

    kind: ClassVar[str] = "database.clear_repack_remains"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)
    reverts: ClassVar[Reverts] = "pointless"

    oid: int
    table: str
    left: tuple[str, ...]

    @property
    def title(self) -> str:
        """What the change does."""
        return f"clear what a pg_repack of {self.table} has left"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"table {self.table}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{', '.join(self.left)} of a pg_repack that did not end", "all of it is gone"

    def observe(self, work: Work) -> Observed:
        """Look for it."""
        with targets.load(work.target).database.connect() as session:
            found = next((one for one in find_remains(session) if one.oid == self.oid), None)
        if found is None:
            return Observed(Standing.AFTER, "nothing is left")
        return Observed(Standing.BEFORE, f"there is {', '.join(found.left)}")

    def apply(self, work: Work) -> str:
        """Drop it, unless a pg_repack is at work."""
        return f"dropped: {', '.join(clear_remains(targets.load(work.target).database, self.oid))}"
