"""Waiting for a remediation, with a line for each thing that happens."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from deployments.cli.errors import BY_OUTCOME, Exit
from deployments.cli.numbers import Seconds
from deployments.cli.output import emit, tell
from tasks.guardrails.case import Case
from tasks.guardrails.entries import Entry
from tasks.guardrails.ledger import Ledger

_POLL_SECONDS = 0.5
_LINES = {
    "requested": "recorded: {name} on {target}",
    "planned": "planned: {title}",
    "begun": "begun: {title}",
    "done": "done: {title}",
    "skipped": "stood already: {title}",
    "reverted": "taken back: {title}",
    "stage_done": "stage {stage} done and proved",
    "failed": "failed: {found}",
    "gate_opened": "waits for approval: remedy approve {remediation}",
    "decided": "{decision} by {approver}",
    "standing_used": "covered by standing approval {standing}",
}


@Parameter(name="*")
@dataclass(frozen=True)
class Wait:
    """Whether and how long to wait.

    Args:
        wait: Wait until it ends, whoever approves it; the exit code tells the outcome.
        timeout: Seconds to wait at most; 0 for no end.
    """

    wait: Annotated[bool, Parameter(negative="")] = False
    timeout: Seconds = 0


NO_WAIT = Wait()


def wait_for(ledger: Ledger, remediation: str, how: Wait, *, as_json: bool = False) -> int:
    """Wait for a remediation's end, if that was asked for.

    Args:
        ledger: The ledger.
        remediation: Its id; it may not have begun yet.
        how: Whether and how long.
        as_json: Whether the end is printed as JSON.

    Returns:
        The exit code.
    """
    if not how.wait:
        return Exit.OK.value
    give_up = time.monotonic() + how.timeout if how.timeout else float("inf")
    seen = 0
    while time.monotonic() < give_up:
        for entry in ledger.entries(remediation=remediation, after=seen):
            seen = entry.seq
            if line := line_of(entry):
                tell(line)
            if entry.kind == "ended":
                case = Case.read(ledger, remediation)
                emit(summary(case), f"{case.outcome}: {entry.facts['why']}", as_json=as_json)
                return BY_OUTCOME.get(case.outcome, Exit.OK).value
        time.sleep(_POLL_SECONDS)
    tell(f"still going on: remedy show {remediation}")
    return Exit.TIMEOUT.value


def line_of(entry: Entry) -> str:
    """Give the line about an entry that a person wants to see; '' for the others."""
    facts: dict[str, Any] = {**entry.facts, "remediation": entry.remediation}
    if entry.kind == "planned":
        facts["title"] = facts["stage"]["title"]
    text = _LINES.get(entry.kind, "")
    return f"{entry.when:%H:%M:%S} {text.format_map(facts)}" if text else ""


def summary(case: Case) -> dict[str, Any]:
    """Give the short facts of a case, for JSON."""
    ended = case.of_kind("ended")
    return {
        "remediation": case.id,
        "name": case.name,
        "target": case.target,
        "outcome": case.outcome or None,
        "why": ended[-1].facts["why"] if ended else None,
        "waits": case.open_gate is not None and not case.outcome,
        "runs": case.runs,
        "requester": case.request.get("requester"),
        "reason": case.request.get("reason"),
    }
