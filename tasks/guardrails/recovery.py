"""Recovery: what Prefect ended where no code of ours ran goes on from the ledger."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from tasks.guardrails import surface
from tasks.guardrails.approval import count, waiting_gate
from tasks.guardrails.case import Case, open_cases
from tasks.guardrails.errors import ApprovalRefused
from tasks.guardrails.holders import holders, remediation_resource
from tasks.guardrails.ledger import Ledger

_GRACE = timedelta(seconds=30)
_LATELY, _DAY = timedelta(hours=1), timedelta(days=1)
# A case without an outcome whose run is in one of these was ended by hand: no code of ours does it.
_BY_HAND = (
    StateType.COMPLETED.value,
    StateType.CANCELLED.value,
    StateType.CANCELLING.value,
    "deleted",
)
_OVER = (*_BY_HAND, StateType.FAILED.value, StateType.CRASHED.value)
# What a recovery records that comes to nothing.
_NO_PROGRESS = ("recovery_started", "lease_taken", "lease_released", "lease_stuck", "fenced")


def state_of(run: str) -> str:
    """Give the type of a run's state in Prefect, 'deleted' where it has none any more."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run)).state
    except ObjectNotFound:
        return "deleted"
    return state.type.value if state else "unknown"


def note_cancellation(ledger: Ledger, case: Case, run: str) -> None:
    """Record that a person ended the last run by hand: from then on the case only undoes."""
    last = case.runs[-1] if case.runs else ""
    state = state_of(last) if last and last != run else ""
    if state not in _BY_HAND:
        return
    if case.failure is None and not case.outcome:
        error = ApprovalRefused(
            expected="a run to carry on.",
            found=f"run {last} was {state.lower()} in Prefect.",
            todo="Start the remediation again if it was not meant.",
        )
        ledger.append("cancelled", error.facts(), remediation=case.id, run=run)


def abandoned(ledger: Ledger) -> list[Case]:
    """Find the remediations that nobody carries on: no report, no live lease, not waiting.

    One that waits for approval within its expiry is left alone, unless its run has ended in
    Prefect: by hand it is taken back, failed it asks again in a run of its own.
    """
    live = {holder.resource for holder in holders(ledger) if holder.is_live and not holder.is_dead}
    found = []
    for remediation in (*open_cases(ledger), *_unreported(ledger)):
        case = Case.read(ledger, remediation)
        if remediation_resource(remediation) in live:
            continue
        if datetime.now(UTC) < _next_try(case):
            continue
        if _still_waits(ledger, case):
            continue
        found.append(case)
    return found


def _unreported(ledger: Ledger) -> list[str]:
    """Find those that ended lately, and whose process died before it could report."""
    reported = {entry.remediation for entry in ledger.entries(kinds=("reported",))}
    since = datetime.now(UTC) - _LATELY
    ended = [entry for entry in ledger.entries(kinds=("ended",)) if entry.when > since]
    return [entry.remediation for entry in ended if entry.remediation not in reported]


def _next_try(case: Case) -> datetime:
    """Say when a recovery may be started: one that brings nothing forward is tried less often."""
    since = max(entry.seq for entry in case.entries if entry.kind not in _NO_PROGRESS)
    tries = [entry for entry in case.of_kind("recovery_started") if entry.seq > since]
    if not tries:
        return case.entries[-1].when + _GRACE
    # One that was started needs a free worker.
    wait: timedelta = min(_GRACE * 2 ** (len(tries) + 1), _DAY)
    return tries[-1].when + wait


def _still_waits(ledger: Ledger, case: Case) -> bool:
    gate = case.open_gate
    if gate is None:
        return False
    if datetime.now(UTC) > count(ledger, case, waiting_gate(case)).expires:
        return False
    return _last_state(case) not in _OVER


def _last_state(case: Case) -> str:
    return state_of(case.runs[-1]) if case.runs else "deleted"


def _decided_and_asleep(ledger: Ledger) -> list[Case]:
    """Find runs that wait although all is decided: whoever decided could not wake them."""
    found = []
    for remediation in open_cases(ledger):
        case = Case.read(ledger, remediation)
        decided = case.of_kind("decided", "standing_used")
        if case.open_gate is None or not decided or not _still_waits(ledger, case):
            continue
        is_late = datetime.now(UTC) - decided[-1].when > _GRACE
        if is_late and not count(ledger, case, waiting_gate(case)).is_open:
            found.append(case)
    return found


def start_recovery_of(ledger: Ledger, case: Case, start: Callable[[str, str], Any]) -> None:
    """Start the run that carries a case on.

    Args:
        ledger: The ledger.
        case: The case.
        start: Called with the remediation's id and an idempotency key, the same until the
            case moves: of two that start one at once, one does.
    """
    key = f"recover-{case.id}-{case.entries[-1].seq}"
    state = _last_state(case)
    start(case.id, key)
    facts = {"key": key, "run": case.runs[-1] if case.runs else "", "state": state}
    ledger.append("recovery_started", facts, remediation=case.id)


def _woken(case: Case) -> bool:
    """Wake a run; what somebody stored for it beforehand can make Prefect fail at that."""
    try:
        return not surface.wake(case.runs[-1])
    except surface.UNREACHABLE:
        return False


def reap(ledger: Ledger, start: Callable[[str, str], Any]) -> list[str]:
    """Start a recovery for each abandoned remediation, and wake runs that nobody woke.

    Args:
        ledger: The ledger.
        start: Called with the remediation's id and an idempotency key; starts the run.

    Returns:
        The ids for which a recovery was started.
    """
    dead = [case for case in _decided_and_asleep(ledger) if not _woken(case)]
    started = []
    for case in (*dead, *abandoned(ledger)):
        start_recovery_of(ledger, case, start)
        started.append(case.id)
    return started
