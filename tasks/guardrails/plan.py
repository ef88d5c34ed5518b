"""Plans, stages, changes, checks and limits: what a remediation says it will do."""

import enum
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.guardrails.registry import ByKind, Registered, reader

Reverts = Literal["exact", "pointless", "impossible"]


class Risk(enum.StrEnum):
    """What a stage may do to users and data; decides how many approvers it needs."""

    HARMLESS = "harmless"
    DISRUPTIVE = "disruptive"
    DESTRUCTIVE = "destructive"

    @property
    def next_higher(self) -> "Risk":
        """The risk whose approvers are asked when a stage exceeds its outline."""
        order = list(Risk)
        return order[min(order.index(self) + 1, len(order) - 1)]


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
        progress: Called with a fraction from 0 to 1 and a sentence while something long runs.
    """

    target: str
    remediation: str
    token: int = 0
    begun_at: datetime | None = None
    progress: Callable[[float, str], None] = field(default=_no_progress, repr=False)


class Change(Registered):
    """One step of a plan: it can say where the world stands, act, and take the act back.

    `observe` compares identity and configuration, never amounts that load moves. `apply` is
    called at `before` and at `half` (where it resumes or clears what it had begun) and
    returns when the world stands `after`. `revert` starts from whatever stands and ends at
    `before`; it has to be safe to call again.
    """

    permissions: ClassVar[tuple[str, ...]] = ()
    reverts: ClassVar[Reverts] = "exact"
    at_most_once: ClassVar[bool] = False

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

    def revert(self, work: Work) -> str | None:
        """Bring the world back to `before`.

        Returns:
            A sentence for the record; None for none.
        """
        raise NotImplementedError

    def undo_loss(self, work: Work) -> str:  # noqa: ARG002 - most changes lose nothing
        """Say what an undo now would lose that others made since; '' where nothing.

        The automatic undo goes no further than a change that answers with a sentence: a
        person is asked, with the sentence in view.
        """
        return ""


class Check(Registered):
    """A claim about the system as its user sees it, asked from outside."""

    @property
    def title(self) -> str:
        """The claim, as 'the application answers'."""
        raise NotImplementedError

    def ask(self, work: Work) -> Answer:
        """Find out whether the claim holds."""
        raise NotImplementedError


class Limit(Registered):
    """An amount that was approved and is measured again right before the act.

    Args:
        at_most: The most that was approved, or None.
        at_least: The least that was approved, or None.
        unit: Unit of both, as 'rows' or 'bytes'.
    """

    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

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


AnyChange = Annotated[ByKind[Change], reader(Change)]
AnyCheck = Annotated[ByKind[Check], reader(Check)]
AnyLimit = Annotated[ByKind[Limit], reader(Limit)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """Something that was found, and how it was seen.

    Args:
        what: The finding as a sentence.
        how: The query, file or request it was seen by.
        columns: Heads of the table below, if any.
        rows: A table of evidence.
        patch: Advice: a change of code or configuration that no machine should make.
    """

    what: str
    how: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    patch: str = ""


class Effects(_Frozen):
    """What a stage costs while it runs and afterwards, in words with figures.

    Args:
        outage: Expected outage ('none', '0.3 s').
        locks: Locks taken and for how long.
        duration: How long it will take.
        lost: What is lost by it.
        disk_needed: Bytes needed, 0 where none.
        disk_free: Bytes free where they are needed, None where unknown.
        undo_until: Until when it can be undone; None where that does not end or cannot be.
    """

    outage: str = "none"
    locks: str = "none"
    duration: str = "seconds"
    lost: str = "nothing"
    disk_needed: int = 0
    disk_free: int | None = None
    undo_until: datetime | None = None


class Stage(_Frozen):
    """A part of a plan with one approval: findings, changes, checks, limits, effects.

    Args:
        name: The stage's name, unique in the plan: 'prepare', 'cut_over'.
        title: What it does, in a line.
        risk: Decides who must approve.
        findings: What was found.
        changes: What will be done, in order.
        checks: What is asked from outside afterwards.
        limits: Amounts measured again right before the act.
        effects: What it costs.
        notes: What else the approver should know ('stays unproved: ...').
    """

    name: str = "act"
    title: str = ""
    risk: Risk = Risk.DISRUPTIVE
    findings: tuple[Finding, ...] = ()
    changes: tuple[AnyChange, ...] = ()
    checks: tuple[AnyCheck, ...] = ()
    limits: tuple[AnyLimit, ...] = ()
    effects: Effects = Effects()
    notes: tuple[str, ...] = ()

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of all objects that the changes touch, once each."""
        return tuple(dict.fromkeys(name for change in self.changes for name in change.objects))


class StageOutline(_Frozen):
    """What a later stage may be, as the first plan says it.

    Args:
        name: Name of the stage; its planning function is registered under it.
        title: What it will do.
        risk: Its risk.
        kinds: The kinds of change it may hold.
        limits: The limits it will keep, in words.
    """

    name: str
    title: str
    risk: Risk
    kinds: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


class Plan(Stage):
    """The first stage, with the outline of the later ones."""

    later: tuple[StageOutline, ...] = Field(default=())


def canonical_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Write JSON in one form only, so that equal values have equal digests.

    Args:
        value: A JSON value.

    Returns:
        Compact JSON with sorted keys, in UTF-8.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Give the sha256 of a value's canonical JSON, as hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
