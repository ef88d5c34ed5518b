"""`remedy cancel`: a run is stopped in Prefect, and what it began is taken back."""

from rich.text import Text

from deployments.cli import client
from deployments.cli.errors import Exit
from deployments.cli.lookup import find, standing
from deployments.cli.output import AsJson, emit
from deployments.cli.starting import Run
from deployments.cli.waiting import NO_WAIT, Wait, wait_for
from tasks.guardrails.case import Case
from tasks.guardrails.errors import BadInput
from tasks.guardrails.holders import holder_of, remediation_resource
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.recovery import start_recovery_of


def cancel(run: Run, /, *, wait: Wait = NO_WAIT, as_json: AsJson = False) -> int:
    """Stop a remediation; what it began is taken back.

    At once, where no process is at work on it; else when that has ended, by its worker or the
    reaper.
    """
    ledger = Ledger()
    case = find(ledger, run)
    if not isinstance(case, Case):  # a run that has recorded nothing: nothing to take back
        state = client.cancel(case)
        said = {"remediation": None, "run": str(case.id), "state": state, "recovery": None}
        emit(said, Text(f"{case.name} had not begun: Prefect says {state}."), as_json=as_json)
        return Exit.OK.value
    stopped = client.read(case.runs[-1]) if case.runs and not case.outcome else None
    if stopped is None:
        raise BadInput(
            expected="a remediation with a run that can be cancelled.",
            found=f"{case.id}: {standing(case)}.",
            todo=f"See `remedy show {case.id}`.",
        )
    state = client.cancel(stopped)
    recovery = _start_recovery(ledger, case.id)
    said = {"remediation": case.id, "run": str(stopped.id), "state": state, "recovery": recovery}
    then = (
        f"What it began is taken back by {client.url_of(recovery)}"
        if recovery
        else "What it began is taken back when its process has ended."
    )
    shown = f"{case.name} ({case.id}): Prefect says {state}. {then}"
    emit(said, Text(shown), as_json=as_json)
    return wait_for(ledger, case.id, wait, as_json=as_json)


def _start_recovery(ledger: Ledger, remediation: str) -> str | None:
    """Start the recovery of a remediation that nobody carries on any more.

    Returns:
        Id of the run; None where a process is still at work on it.
    """
    holder = holder_of(ledger, remediation_resource(remediation))
    if holder and holder.is_live and not holder.is_dead:
        return None
    started: list[str] = []

    def start(found: str, key: str) -> None:
        run = client.start("recover-remediation", {"remediation": found}, key)
        started.append(str(run.id))

    start_recovery_of(ledger, Case.read(ledger, remediation), start)
    return started[0]
