"""The policy of a target: who must approve what, kept in the ledger and nowhere else."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger, Writing
from tasks.guardrails.plan import Risk

EVERY_TARGET = "*"


class Policy(BaseModel):
    """Rules for the remediations of a target."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    harmless: int = Field(default=0, ge=0, le=10, description="Approvers of a harmless stage.")
    disruptive: int = Field(default=1, ge=0, le=10, description="Approvers of a disruptive stage.")
    destructive: int = Field(
        default=2, ge=1, le=10, description="Approvers of a destructive stage."
    )
    expiry_seconds: int = Field(
        default=3600, ge=10, le=604800, description="How long a gate waits, from its opening."
    )
    requester_may_approve: bool = Field(
        default=False, description="Whether who asked for it may approve it."
    )
    ui_may_approve_destructive: bool = Field(
        default=False,
        description="Whether the Prefect UI's form, the weaker way, may approve such stages.",
    )
    blast_radius: int = Field(
        default=200, ge=1, description="The most objects a plan may touch in a stage."
    )
    busy_wait_seconds: int = Field(
        default=900, ge=0, description="How long to wait for the target's lease; 0 refuses."
    )

    def approvers(self, risk: Risk) -> int:
        """Give how many approvers a risk needs when the requester is known."""
        return int(getattr(self, risk.value))


class PolicyVersion(BaseModel):
    """A policy with the sequence number of the entry that set it, 0 for the default."""

    model_config = ConfigDict(frozen=True)

    policy: Policy
    version: int


def policy_of(ledger: Ledger, target: str) -> PolicyVersion:
    """Read the policy in force for a target.

    Args:
        ledger: Where it is kept.
        target: The target; its own policy goes before the one for every target.

    Returns:
        The policy and its version.
    """
    entries = ledger.entries(kinds=("policy_set",))
    for name in (target, EVERY_TARGET):
        for entry in reversed(entries):
            if entry.facts["target"] == name:
                return PolicyVersion(
                    policy=Policy.model_validate(entry.facts["policy"]), version=entry.seq
                )
    return PolicyVersion(policy=Policy(), version=0)


def set_policy(
    chain: Writing, before: Policy, target: str, values: dict[str, Any], actor: str
) -> Policy:
    """Set fields of a target's policy, in the transaction in which its approver was checked.

    Args:
        chain: The transaction.
        before: The policy in force, read while the transaction is open: one that was read
            before it may be another by now, and what was set in between would be lost.
        target: The target, or '*' for every target without one of its own.
        values: Fields to change.
        actor: The approver with the role `policy`.

    Returns:
        The new policy.

    Raises:
        BadInput: A field is unknown or out of bounds.
    """
    try:
        policy = Policy.model_validate({**before.model_dump(), **values})
    except ValidationError as error:
        problem = error.errors()[0]
        raise BadInput(
            expected="fields of the policy within their bounds.",
            found=f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}.",
            todo="See `remedy policy show` for the fields.",
        ) from error
    chain.append(
        "policy_set",
        {"target": target, "policy": policy.model_dump(), "before": before.model_dump()},
        actor=actor,
    )
    return policy
