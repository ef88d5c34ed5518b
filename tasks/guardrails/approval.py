"""Decisions: made in the ledger, bound to a remediation, a stage and a digest, counted there."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from tasks.guardrails import approvers, codes, standing
from tasks.guardrails.case import Case, StageRecord
from tasks.guardrails.errors import (
    ApprovalExpired,
    ApprovalRefused,
    BadInput,
    RemediationError,
)
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Risk
from tasks.guardrails.policy import Policy, policy_of
from tasks.guardrails.words import counted, moment

Verb = Literal["approve", "refuse"]
UI = "ui"
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Gate:
    """What an approval is asked for: a stage of a plan, or a question about how to go on.

    Args:
        name: Name of the stage, or 'stage/question'.
        digest: What the decision binds to.
        risk: Decides how many approvers are needed.
        question: What is asked, in a sentence.
        at_least: Approvers needed whatever the policy says (a question needs one).
    """

    name: str
    digest: str
    risk: Risk
    question: str
    at_least: int = 0


@dataclass(frozen=True)
class Count:
    """How a gate stands: who decided, how many are needed (or what covers it), until when."""

    needed: int
    approved_by: tuple[str, ...]
    refused_by: str
    refused_because: str
    expires: datetime
    standing: str = ""

    @property
    def is_open(self) -> bool:
        """Whether more decisions are needed."""
        enough = self.standing or len(self.approved_by) >= self.needed
        return not (self.refused_by or enough)

    @property
    def waits(self) -> bool:
        """Whether more decisions are needed, and there is time for them."""
        return self.is_open and datetime.now(UTC) < self.expires

    def sentence(self) -> str:
        """Say how it stands, for the person who is asked."""
        if not self.needed:
            return "No approval is needed."
        if self.standing:
            return f"Covered by standing approval {self.standing}."
        by = f" ({', '.join(self.approved_by)})" if self.approved_by else ""
        return (
            f"{len(self.approved_by)} of {counted(self.needed, 'approval')}{by}; "
            f"waits until {moment(self.expires)}."
        )


def stage_gate(record: StageRecord) -> Gate:
    """Make the gate of a recorded stage; one beyond its outline needs the next higher risk."""
    risk = record.stage.risk.next_higher if record.exceeds else record.stage.risk
    return Gate(record.stage.name, record.digest, risk, f"Carry out: {record.stage.title}?")


def count(ledger: Ledger, case: Case, gate: Gate) -> Count:
    """Count the decisions on a gate, as the ledger has them now.

    Args:
        ledger: Where decisions and approvers are kept.
        case: The remediation.
        gate: The gate.

    Returns:
        How it stands. Only entries that the chain holds signed are seen; an approver who
        was revoked in the meantime does not count, nor does the requester unless the
        policy lets them, nor does a second decision of the same person.
    """
    policy = policy_of(ledger, case.target).policy
    now = Case.read(ledger, case.id)
    people = approvers.approvers(ledger)
    approved: list[str] = []
    refused_by = refused_because = ""
    for entry in now.of_kind("decided"):
        facts = entry.facts
        who = facts["approver"]
        if (facts["gate"], facts["digest"]) != (gate.name, gate.digest):
            continue
        if not _counts(people.get(who), entry.at):
            continue
        if facts["decision"] == "refuse":
            refused_by, refused_because = who, facts["comment"]
        elif who not in approved and _may_approve(policy, case, who, facts["via"], gate.risk) == "":
            approved.append(who)
    openings = [e for e in now.of_kind("gate_opened") if e.facts["digest"] == gate.digest]
    opened = openings[0].when if openings else datetime.now(UTC)
    expires = opened + timedelta(seconds=policy.expiry_seconds)
    base = max(policy.approvers(gate.risk), gate.at_least)
    return Count(
        base + (1 if base and not case.requester.known else 0),  # one more for an unknown one
        tuple(approved),
        refused_by,
        refused_because,
        expires,
        standing.in_use(ledger, now, gate.digest),
    )


def _counts(who: approvers.Approver | None, decided: str) -> bool:
    """Say whether a decision is one of an approver who is one still, with the secret they have."""
    return who is not None and not who.revoked and "approve" in who.roles and decided >= who.added


def _may_approve(policy: Policy, case: Case, who: str, via: str, risk: Risk) -> str:
    """Say why somebody may not approve; '' where they may."""
    if who == case.requester.name and not policy.requester_may_approve:
        return f"{who} asked for it, and the policy wants somebody else"
    if risk is Risk.DESTRUCTIVE and via == UI and not policy.ui_may_approve_destructive:
        return "a destructive stage is approved with `remedy approve`, not in Prefect's form"
    return ""


def decide(  # noqa: PLR0913 - the parts of a decision
    ledger: Ledger,
    case: Case,
    gate: Gate,
    *,
    approver: str,
    code: str,
    decision: Verb,
    comment: str,
    source: str,
    at: datetime | None = None,
) -> Count:
    """Check an approver's code and write their decision; one that does not count is recorded too.

    Args:
        ledger: Where it is written.
        case: The remediation.
        gate: The gate that waits.
        approver: Name of the approver.
        code: Their code.
        decision: 'approve' or 'refuse'.
        comment: Why; goes into the report.
        source: 'host' for the command line, 'ui' for Prefect's form.
        at: When the code was given, if not now.

    Returns:
        How the gate stands with it.

    Raises:
        ApprovalRefused: The code is wrong, or this person may not approve this.
        ApprovalExpired: The gate's time is over.
        BadInput: The decision is neither of both, or the gate does not wait any more.
    """
    said = {"gate": gate.name, "digest": gate.digest, "decision": decision, "via": source}
    try:
        who, mark = codes.authenticate(ledger, approver, code, role="approve", source=source, at=at)
        with ledger.writing() as chain:  # nobody else decides meanwhile
            codes.use_code(chain, who.name, mark, source)
            why_not = _why_not(ledger, case, gate, who.name, said, at)
            if why_not is None:
                chain.append(
                    "decided",
                    {"approver": who.name, **said, "comment": comment},
                    remediation=case.id,
                    actor=who.name,
                )
        if why_not is not None:  # the code is spent: it was shown to somebody
            raise why_not
    except (ApprovalRefused, ApprovalExpired, BadInput) as refusal:
        facts = {"approver": approver[:_LONGEST_NAME], **said, "why": refusal.found}
        ledger.append("decision_refused", facts, remediation=case.id)
        raise
    return count(ledger, case, gate)


def _why_not(
    ledger: Ledger, case: Case, gate: Gate, who: str, said: dict[str, str], at: datetime | None
) -> RemediationError | None:
    """Say why a decision of somebody whose code was right does not count; None where it does."""
    if said["decision"] not in ("approve", "refuse"):
        return BadInput(
            expected="'approve' or 'refuse'.",
            found=f"{said['decision']!r}.",
            todo="Decide again.",
        )
    now = Case.read(ledger, case.id)
    opened = now.open_gate
    if now.outcome or opened is None or opened.facts["digest"] != gate.digest:
        return BadInput(
            expected="a decision on what waits now.",
            found="one on a plan that was given up, or is decided.",
            todo=f"Look at it with `remedy show {case.id}`, and decide again.",
        )
    before = count(ledger, case, gate)
    if (at or datetime.now(UTC)) > before.expires:
        return ApprovalExpired(
            expected=f"a decision by {before.expires:%Y-%m-%d %H:%M:%S} UTC.",
            found="one that came later.",
            todo="Start the remediation again.",
        )
    policy = policy_of(ledger, case.target).policy
    why_not = _may_approve(policy, case, who, said["via"], gate.risk)
    if said["decision"] == "refuse" or not (why_not or who in before.approved_by):
        return None
    return ApprovalRefused(
        expected="a decision that counts.",
        found=f"{why_not or who + ' has approved already'}.",
        todo="Ask another approver.",
    )


def waiting_gate(case: Case) -> Gate:
    """Give the gate at which a case waits.

    Raises:
        BadInput: It waits at none.
    """
    opened = case.open_gate
    if opened is None or case.outcome:
        raise BadInput(
            expected=f"remediation {case.id} to wait for an approval.",
            found=f"it has ended: {case.outcome}." if case.outcome else "it does not wait now.",
            todo=f"Look at it with `remedy show {case.id}`.",
        )
    facts = opened.facts
    return Gate(
        facts["gate"], facts["digest"], Risk(facts["risk"]), facts["question"], facts["at_least"]
    )
