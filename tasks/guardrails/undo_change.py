"""What an undo's plan is made of: the revert of a change, and the limit of what it may lose."""

import math
from dataclasses import replace
from typing import ClassVar

from tasks.guardrails.errors import RemediationError, Transient
from tasks.guardrails.plan import (
    AnyChange,
    Change,
    Limit,
    Loss,
    Observed,
    Reverts,
    Standing,
    Work,
)

_MIRRORED = {Standing.BEFORE: Standing.AFTER, Standing.AFTER: Standing.BEFORE}


class UndoChange(Change):
    """The revert of a change of an earlier remediation.

    Args:
        original: The change.
        original_remediation: Whose change it was.
    """

    kind: ClassVar[str] = "guardrails.undo_change"
    reverts: ClassVar[Reverts] = "impossible"  # an undo is not undone: run the remediation again

    original: AnyChange
    original_remediation: str

    @property
    def title(self) -> str:
        """What is taken back."""
        return f"undo: {self.original.title}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What the change touched."""
        return self.original.objects

    @property
    def before_and_after(self) -> tuple[str, str]:
        """The change's states, the other way round."""
        before, after = self.original.before_and_after
        return after, before

    def _as_then(self, work: Work) -> Work:
        return replace(work, remediation=self.original_remediation, undoes=True)

    def observe(self, work: Work) -> Observed:
        """Look with the change's own eyes; its `after` is our `before`."""
        if self.original.leaves_no_trace and work.begun_at is None:
            return Observed(Standing.BEFORE, "nothing to see says whether it stands: it is undone")
        seen = self.original.observe(self._as_then(work))
        return Observed(_MIRRORED.get(seen.standing, seen.standing), seen.detail)

    def apply(self, work: Work) -> str | None:
        """Revert the change."""
        return self.original.revert(self._as_then(work))

    def revert(self, work: Work) -> None:
        """Never called: what is impossible to revert stops an undo."""


class UndoLoss(Limit):
    """What the undo of a change loses that others made since.

    Args:
        original: The change.
        original_remediation: Whose change it was.
    """

    kind: ClassVar[str] = "guardrails.undo_loss"

    original: AnyChange
    original_remediation: str

    @property
    def title(self) -> str:
        """What is limited."""
        return f"lost by the undo of '{self.original.title}'"

    def measure(self, work: Work) -> float:
        """Count it as the change does; infinite where it cannot be counted."""
        told = replace(work, remediation=self.original_remediation)
        loss = count_loss(self.original, told)
        return loss.amount if loss else 0


def count_loss(change: Change, told: Work) -> Loss | None:
    """Count what an undo of a change now would lose; what cannot be counted is not nothing.

    Args:
        change: The change.
        told: What it is told.

    Returns:
        The loss, infinite where it cannot be counted; None where there is none.

    Raises:
        Transient: The system did not answer; it may be tried again.
    """
    try:
        return change.undo_loss(told)
    except Transient:
        raise
    except RemediationError as error:
        sentence = f"What others wrote since cannot be counted: {error.found}"
        return Loss(math.inf, "", sentence)
