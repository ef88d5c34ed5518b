"""Plans, stages, changes, checks and limits: what a remediation says it will do."""

import enum
import hashlib
import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.guardrails.changes import (
    Answer,
    Change,
    Check,
    Limit,
    Loss,
    Observed,
    Reverts,
    Standing,
    Verdict,
    Watch,
    Work,
)
from tasks.guardrails.registry import ByKind, reader

__all__ = [
    "Answer",
    "Change",
    "Check",
    "Effects",
    "Finding",
    "Limit",
    "Loss",
    "Observed",
    "Plan",
    "Reverts",
    "Risk",
    "Stage",
    "StageOutline",
    "Standing",
    "Verdict",
    "Watch",
    "Work",
    "canonical_json",
    "digest_of",
]


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


AnyChange = Annotated[ByKind[Change], reader(Change)]
AnyCheck = Annotated[ByKind[Check], reader(Check)]
AnyLimit = Annotated[ByKind[Limit], reader(Limit)]
AnyWatch = Annotated[ByKind[Watch], reader(Watch)]


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
        picture: The evidence as a drawing: SVG that needs no other file; '' for none.
    """

    what: str
    how: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    patch: str = ""
    picture: str = ""


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
        watches: What is asked from outside all the time meanwhile: the outage as users saw it.
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
    watches: tuple[AnyWatch, ...] = ()
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

    def exceeded_by(self, stage: Stage) -> str:
        """Say how a stage as it was planned goes beyond this outline; '' where it does not."""
        risks = list(Risk)
        if risks.index(stage.risk) > risks.index(self.risk):
            return f"outlined as {self.risk}, it is {stage.risk}"
        unknown = sorted({change.kind for change in stage.changes} - set(self.kinds))
        return f"kinds of change that were not outlined: {', '.join(unknown)}" if unknown else ""


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
