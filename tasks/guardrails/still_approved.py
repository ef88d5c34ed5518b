"""Whether an approved stage is one still, when it is about to begin."""

from datetime import UTC, datetime, timedelta

from tasks.guardrails.approval import count, stage_gate
from tasks.guardrails.case import StageRecord
from tasks.guardrails.errors import ApprovalExpired
from tasks.guardrails.policy import policy_of
from tasks.guardrails.recording import AskAgain, Recorder
from tasks.guardrails.words import moment


def insist_that_it_stands(work: Recorder, record: StageRecord) -> None:
    """Make sure that nobody took an approval back while the stage waited for its target.

    Raises:
        AskAgain: It has to be planned and approved anew.
    """
    has_begun = any(step.begun for step in work.case.steps(record))
    if not has_begun and count(work.ledger, work.case, stage_gate(record)).is_open:
        raise AskAgain("its approval was taken back, or ended, while it waited for the target")


def insist_that_it_is_recent(work: Recorder, record: StageRecord) -> None:
    """Refuse an approval that was given too long ago for a stage that has not begun.

    Raises:
        ApprovalExpired: It was.
    """
    if any(step.begun for step in work.case.steps(record)):
        return
    decided = [
        entry.when
        for entry in work.case.of_kind("decided", "standing_used")
        if entry.facts["digest"] == record.digest
    ]
    expiry = timedelta(seconds=policy_of(work.ledger, work.case.target).policy.expiry_seconds)
    if decided and _age_of(decided[-1]) > expiry:
        raise ApprovalExpired(
            expected=f"'{record.stage.title}' to begin within {expiry} of its approval.",
            found=f"it was approved at {moment(decided[-1])}, and did not begin since.",
            todo="Start the remediation again: things have changed meanwhile.",
        )


def _age_of(when: datetime) -> timedelta:
    return datetime.now(UTC) - when
