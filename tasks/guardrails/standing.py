"""Standing approvals: scheduled work runs unattended, within bounds, until a date."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from tasks.guardrails import approvers
from tasks.guardrails.case import Case, StageRecord
from tasks.guardrails.entries import Entry
from tasks.guardrails.errors import BadInput
from tasks.guardrails.key_in_force import ROTATED
from tasks.guardrails.ledger import Ledger, Writing
from tasks.guardrails.plan import Risk, canonical_json
from tasks.guardrails.policy import Policy, policy_of
from tasks.guardrails.words import counted, moment

_LONGEST = timedelta(days=400)


class Bounds(BaseModel):
    """What a standing approval covers; whatever lies outside is asked about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    remediation: str = Field(description="Name of the remediation, as vacuum_database.")
    target: str = Field(description="Name of the target.")
    parameters: dict[str, Any] = Field(
        description="All its parameters: a run with another value of any asks."
    )
    kinds: tuple[str, ...] = Field(min_length=1, description="The kinds of change it may make.")
    at_most: int = Field(ge=1, le=10_000, description="The most objects that a stage may touch.")
    risk: Risk = Field(description="The highest risk of a stage.")
    until: AwareDatetime = Field(description="When it ends.")
    fingerprint: str = Field(description="Of the target's configuration when it was given.")
    reason: str = Field(min_length=1, description="Why it is given.")


@dataclass(frozen=True)
class StandingApproval:
    """A standing approval as the ledger has it.

    Args:
        id: Its id.
        bounds: What it covers.
        replaces: The approvers that each risk up to its own needed when it was given.
        given_by: Who gave it.
        given_at: When.
        revoked_by: Who revoked it; '' while it stands.
    """

    id: str
    bounds: Bounds
    replaces: dict[Risk, int]
    given_by: str
    given_at: datetime
    revoked_by: str


def standing_approvals(ledger: Ledger) -> list[StandingApproval]:
    """Read all standing approvals, with those that ended or were revoked, oldest first."""
    given: dict[str, Entry] = {}
    revoked: dict[str, str] = {}
    for entry in ledger.entries(kinds=("standing_given", "standing_revoked", ROTATED)):
        if entry.kind == ROTATED:  # what only the old key vouched for is void
            revoked |= dict.fromkeys(given, "a rotation of the ledger's key")
        elif entry.kind == "standing_given":
            given[entry.facts["id"]] = entry
        else:
            revoked[entry.facts["id"]] = entry.actor
    return [
        StandingApproval(
            id=name,
            bounds=Bounds.model_validate(entry.facts["bounds"]),
            replaces={Risk(risk): many for risk, many in entry.facts["replaces"].items()},
            given_by=entry.actor,
            given_at=entry.when,
            revoked_by=revoked.get(name, ""),
        )
        for name, entry in given.items()
    ]


def give(ledger: Ledger, chain: Writing, values: dict[str, Any], actor: str) -> StandingApproval:
    """Give a standing approval, in the transaction in which its approver was checked.

    Args:
        ledger: The ledger.
        chain: The transaction.
        values: The fields of `Bounds`.
        actor: The approver with the role `policy` who gives it.

    Returns:
        The approval.

    Raises:
        BadInput: A bound is missing, unknown or beyond what may be given.
    """
    try:
        bounds = Bounds.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        raise BadInput(
            expected="the bounds of a standing approval.",
            found=f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}.",
            todo="See `remedy standing add --help`.",
        ) from error
    now = datetime.now(UTC)
    if not now < bounds.until <= now + _LONGEST:
        raise BadInput(
            expected=f"an end in the future, within {_LONGEST.days} days.",
            found=f"{moment(bounds.until)}.",
            todo="Give another --until; it can be given again when it ends.",
        )
    name = secrets.token_hex(4)
    policy, risks = policy_of(ledger, bounds.target).policy, list(Risk)
    replaces = {one: policy.approvers(one) for one in risks[: risks.index(bounds.risk) + 1]}
    chain.append(
        "standing_given",
        {"id": name, "bounds": bounds.model_dump(mode="json"), "replaces": replaces},
        actor=actor,
    )
    return StandingApproval(name, bounds, replaces, actor, now, "")


def revoke(ledger: Ledger, chain: Writing, name: str, reason: str, actor: str) -> None:
    """Revoke a standing approval: it covers nothing more, not even what waits to begin.

    Args:
        ledger: The ledger.
        chain: The transaction in which the approver was checked.
        name: Its id.
        reason: Why.
        actor: Who revokes it.

    Raises:
        BadInput: There is none that stands by that id.
    """
    if all(one.id != name or one.revoked_by for one in standing_approvals(ledger)):
        raise BadInput(
            expected="the id of a standing approval that is not revoked.",
            found=f"{name!r}.",
            todo="See `remedy standing list`.",
        )
    chain.append("standing_revoked", {"id": name, "reason": reason}, actor=actor)


def why_it_does_not_hold(
    ledger: Ledger, one: StandingApproval, policy: Policy, at: datetime
) -> str:
    """Say why a standing approval covers nothing now, '' where it holds.

    Args:
        ledger: The ledger.
        one: The approval.
        policy: The policy in force for its target.
        at: The time at which it is used.
    """
    if one.revoked_by:
        return f"{one.revoked_by} revoked it"
    if at >= one.bounds.until:
        return f"it ended at {moment(one.bounds.until)}"
    giver = approvers.approvers(ledger).get(one.given_by)
    if giver is None or giver.revoked or "policy" not in giver.roles:
        return f"{one.given_by}, who gave it, has not the role policy any more"
    if one.given_at < datetime.fromisoformat(giver.added):
        return f"{one.given_by}, who gave it, was enrolled anew since"
    if any(policy.approvers(risk) > many for risk, many in one.replaces.items()):
        return "the policy asks for more approvers than it did when it was given"
    return ""


def _why_outside(one: StandingApproval, case: Case, record: StageRecord, policy: Policy) -> str:
    """Say in what a stage lies outside of the bounds, '' where it does not."""
    bounds, stage = one.bounds, record.stage
    asks_themselves = case.requester.name == one.given_by and not policy.requester_may_approve
    is_like = canonical_json(bounds.parameters) == canonical_json(case.request["parameters"])
    kinds = sorted({change.kind for change in stage.changes} - set(bounds.kinds))
    always = sorted({change.title for change in stage.changes if change.asked_each_time})
    touched = len(stage.objects)
    too_many = f"{counted(touched, 'object')}, at most {bounds.at_most} are covered"
    age = datetime.now(UTC) - record.at
    given_up = [entry.facts["why"] for entry in case.of_kind("superseded")]
    reasons = (
        (not case.requester.known, "nobody knows who asked for it"),
        (asks_themselves, f"{one.given_by} gave it and asks for it now"),
        (not is_like, "its parameters are others"),
        (record.facts.target_fingerprint != bounds.fingerprint, "the target was configured anew"),
        (age > timedelta(seconds=policy.expiry_seconds), f"it was planned {age} ago"),
        (given_up, f"an earlier plan was given up: {'; '.join(given_up)}"),
        (record.exceeds, f"the stage goes beyond its outline: {record.exceeds}"),
        (stage.risk not in one.replaces, f"it is {stage.risk}, at most {bounds.risk} is covered"),
        (kinds, f"kinds of change that are not covered: {', '.join(kinds)}"),
        (always, f"people decide on it each time: {'; '.join(always)}"),
        (touched > bounds.at_most, too_many),
    )
    return next((why for is_so, why in reasons if is_so), "")


def cover(
    ledger: Ledger, case: Case, record: StageRecord, append: Callable[[str, dict[str, Any]], None]
) -> str:
    """Let a stage go on under a standing approval where one covers it.

    Args:
        ledger: The ledger.
        case: The remediation.
        record: The stage as it was recorded.
        append: Appends an entry about the remediation.

    Returns:
        '' where one covers it, or there is none for this remediation; else why none does.
    """
    policy = policy_of(ledger, case.target).policy
    reasons = []
    for one in standing_approvals(ledger):
        if (one.bounds.remediation, one.bounds.target) != (case.name, case.target):
            continue
        why = why_it_does_not_hold(ledger, one, policy, datetime.now(UTC))
        if not (why := why or _why_outside(one, case, record, policy)):
            used = {"standing": one.id, "gate": record.stage.name, "digest": record.digest}
            append("standing_used", {**used, "given_by": one.given_by})
            return ""
        reasons.append(f"Standing approval {one.id} does not cover this: {why}.")
    return " ".join(reasons)


def in_use(ledger: Ledger, case: Case, digest: str) -> str:
    """Give the id of the standing approval under which a stage goes on, '' where there is none.

    Args:
        ledger: The ledger.
        case: The remediation, as it is now.
        digest: Digest of the stage.
    """
    used = [e for e in case.of_kind("standing_used") if e.facts["digest"] == digest]
    if not used:
        return ""
    policy = policy_of(ledger, case.target).policy
    name = str(used[-1].facts["standing"])
    has_begun = any(entry.facts["digest"] == digest for entry in case.of_kind("begun"))
    at = used[-1].when if has_begun else datetime.now(UTC)
    stands = any(
        one.id == name and not why_it_does_not_hold(ledger, one, policy, at)
        for one in standing_approvals(ledger)
    )
    return name if stands else ""
