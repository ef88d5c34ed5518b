"""The rows that a swap would lose, as a limit that an approver agreed to."""

from typing import ClassVar

from tasks.database.copies.baseline import Baseline, lost_since
from tasks.database.copies.differences import measure_differences
from tasks.guardrails.plan import Limit, Work
from tasks.platforms import targets

ROWS_LOST = "rows lost"


class RowsLost(Limit):
    """Rows of live that the copy has not, or has differently.

    Args:
        live: Name of the live database.
        side: Name of the copy.
        since: The comparison that the approver saw; without it both are compared from scratch.
    """

    kind: ClassVar[str] = "database.rows_lost"

    live: str
    side: str
    since: Baseline | None = None

    @property
    def title(self) -> str:
        """What is limited."""
        return ROWS_LOST

    def measure(self, work: Work) -> float:
        """Compare what is newer than the comparison; everything where that may not suffice."""
        database = targets.load(work.target).database
        if self.since is not None:
            most = lost_since(database, self.live, self.side, self.since)
            if most is not None and not self.exceeded(most):
                return most
        return sum(one.lost for one in measure_differences(database, self.live, self.side))
