"""Apply one revision to the live database; what is applied stays."""

from typing import ClassVar

from tasks.database.migrations.moving import MovesSchema
from tasks.guardrails.plan import Reverts, Work


class ApplyRevision(MovesSchema):
    """Bring the live database from one revision to the next, by the application's Alembic.

    Args:
        live: Name of the live database.
        before: The revision before.
        after: The revision.
        in_transaction: Whether it is one transaction, so that a failure leaves nothing.
        script: Its digest as it was rehearsed, '' where unknown.
        cut_after: Seconds that others may wait for it at a stretch; then it is ended.
        statement_seconds: How long one of its statements may take.
    """

    kind: ClassVar[str] = "database.apply_revision"
    # What is applied stays, whatever fails after it: each revision is a schema of its own, and
    # a downgrade may lose what was written since. It is never done by an undo.
    reverts: ClassVar[Reverts] = "pointless"

    @property
    def title(self) -> str:
        """What the change does."""
        return f"apply revision {self.after} to {self.live}"

    def revert(self, work: Work) -> str:
        """Take nothing back; say what stays."""
        return f"{self.observe(work).detail}; what was applied stays, a downgrade is no undo"
