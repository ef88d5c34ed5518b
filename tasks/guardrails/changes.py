"""Changes, checks and limits: what subjects write, and the engine carries out."""

import enum
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal

from tasks.guardrails.registry import Registered

Reverts = Literal["exact", "pointless", "impossible"]


class Standing(enum.StrEnum):
    """How the world stands towards a change."""

    BEFORE = "before"
    AFTER = "after"
    UNDERWAY = "underway"
    HALF = "half"
    OTHER = "other"


@dataclass(frozen=True)
class Observed:
    """What `observe` saw.

    Args:
        standing: Where the world stands towards the change.
        detail: A sentence about what was seen, for the ledger and the report.
    """

    standing: Standing
    detail: str


class Verdict(enum.StrEnum):
    """What a check answered; only NOT_HELD undoes."""

    HELD = "held"
    NOT_HELD = "not_held"
    NOT_ASKED = "not_asked"


@dataclass(frozen=True)
class Answer:
    """A check's answer with the evidence as a sentence."""

    verdict: Verdict
    detail: str


def _no_progress(_done: float, _detail: str = "") -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Work:
    """What a change, check or limit is told when it is asked to do something.

    Args:
        target: Name of the target.
        remediation: Id of the remediation; goes into names, comments and tags of what is made.
        token: Fencing token of the lease; 0 for a look without one.
        begun_at: When this change was begun (UTC), None before that: by it a change that
            leaves nothing else to see recognises that it was done.
        undoes: Whether a later remediation looks at the change, to take it back.
        measured: What the stage's limits measured last, by their titles.
        progress: Called with a fraction from 0 to 1 and a sentence while something long runs.
    """

    target: str
    remediation: str
    token: int = 0
    begun_at: datetime | None = None
    undoes: bool = False
    measured: Mapping[str, float] = field(default_factory=dict)
    progress: Callable[[float, str], None] = field(default=_no_progress, repr=False)

    @property
    def is_to_begin(self) -> bool:
        """Whether the change is still to be begun: only where all is as it was when planned."""
        return self.begun_at is None and not self.undoes


# Users go on while an approver thinks: a loss may grow by as much again, or by so many.
_MAY_GROW_BY = 1000


@dataclass(frozen=True)
class Loss:
    """What an undo now would lose that others made since.

    Args:
        amount: How much; infinite where it cannot be counted.
        unit: Its unit, as 'rows'.
        sentence: The loss in words with its figures, for a person who has to choose.
    """

    amount: float
    unit: str
    sentence: str

    @property
    def at_most(self) -> float | None:
        """What it may have grown to when it is carried out; None where it cannot be counted."""
        if math.isinf(self.amount):
            return None
        return self.amount + max(self.amount, _MAY_GROW_BY)


class Change(Registered):
    """One step of a plan: it can say where the world stands, act, and take the act back.

    `observe` compares identity and configuration, never amounts that load moves. `apply` is
    called at `before` and at `half` (where it resumes or clears what it had begun) and
    returns when the world stands `after`. `revert` starts from whatever stands and ends at
    `before`; it has to be safe to call again. Of a change that it is pointless to take back it
    only clears what was left half done.
    """

    permissions: ClassVar[tuple[str, ...]] = ()
    reverts: ClassVar[Reverts] = "exact"
    at_most_once: ClassVar[bool] = False
    # Whether only `begun_at` says that it was done: its undo then acts whatever is seen.
    leaves_no_trace: ClassVar[bool] = False
    # What a revert does not bring back, as ', but no row': told wherever it is called exact.
    but: ClassVar[str] = ""
    # Whether somebody decides on it each time: no standing approval covers it.
    asked_each_time: ClassVar[bool] = False

    # Kinds of earlier changes of the plan this one builds on: it is looked at in its turn only.
    needs: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What the change does, as its task run is named."""
        raise NotImplementedError

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of what it touches, as 'database planner': blast radius and later undos."""
        raise NotImplementedError

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words, for the plan."""
        raise NotImplementedError

    def observe(self, work: Work) -> Observed:
        """Say where the world stands; changes nothing."""
        raise NotImplementedError

    def apply(self, work: Work) -> str | None:
        """Bring the world from `before` (or `half`) to `after`.

        Returns:
            A sentence for the record, as what was measured on the way; None for none.
        """
        raise NotImplementedError

    def revert(self, work: Work) -> str | None:  # noqa: ARG002 - what is pointless needs none
        """Bring the world back to `before`.

        Returns:
            A sentence for the record; None for none.
        """
        if self.reverts == "pointless":
            return None
        raise NotImplementedError

    def undo_loss(self, work: Work) -> Loss | None:  # noqa: ARG002 - most changes lose nothing
        """Say what an undo now would lose that others made since; None where nothing.

        The automatic undo goes no further than a change that answers with a loss: a person
        is asked, with its sentence in view, and asked anew where it has doubled since.
        """
        return None


class Check(Registered):
    """A claim about the system as its user sees it, asked from outside."""

    @property
    def title(self) -> str:
        """The claim, as 'the application answers'."""
        raise NotImplementedError

    def ask(self, work: Work) -> Answer:
        """Find out whether the claim holds."""
        raise NotImplementedError


class Watch(Registered):
    """What users notice while a stage is carried out, asked from outside again and again."""

    @property
    def title(self) -> str:
        """Whom it asks for what, as 'the application serves a read'."""
        raise NotImplementedError

    def opened(self, work: Work) -> AbstractContextManager[Callable[[], str]]:
        """Get ready once (log in); gives the question.

        Returns:
            A context whose value asks once and answers '' where a user was served, else what
            they met instead. It is called in a thread, several times a second.

        Raises:
            RemediationError: It cannot be asked: the reason goes into the report.
        """
        raise NotImplementedError


class Limit(Registered):
    """An amount that was approved and is measured again right before the act.

    Args:
        at_most: The most that was approved, or None.
        at_least: The least that was approved, or None.
        unit: Unit of both, as 'rows' or 'bytes'.
        guards: Kind of the change right before which it is measured once more, whatever was
            begun before it (also after a crash); '' for the beginning of the stage only.
    """

    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""
    guards: str = ""

    @property
    def title(self) -> str:
        """What is limited, as 'rows lost'."""
        raise NotImplementedError

    def measure(self, work: Work) -> float:
        """Measure the amount now."""
        raise NotImplementedError

    def exceeded(self, amount: float) -> bool:
        """Say whether an amount lies beyond the limit."""
        return (self.at_most is not None and amount > self.at_most) or (
            self.at_least is not None and amount < self.at_least
        )
