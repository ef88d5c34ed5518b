"""From what a person types to a remediation: its id, a prefix of it, or a run of Prefect."""

import re
from typing import TYPE_CHECKING

from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.guardrails.ledger import Ledger

if TYPE_CHECKING:  # Prefect is imported only when asked
    from prefect.client.schemas.objects import FlowRun

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
# Of less than that many letters, the ids of other runs begin with the same by chance.
_ID = re.compile(r"[a-z2-7]{4,10}")


def find_case(ledger: Ledger, typed: str) -> Case:
    """Find a remediation.

    Args:
        ledger: The ledger.
        typed: Its id, a prefix of it that fits no other, the id of a Prefect run, or the
            name of one.

    Returns:
        The case.

    Raises:
        BadInput: There is none, or the prefix fits several.
        PreconditionFailed: Its run has not begun yet.
    """
    found = find(ledger, typed)
    if isinstance(found, Case):
        return found
    state = found.state
    said = f"Prefect says {state.name if state else 'nothing of its state'}"
    if state and state.message:
        said += f": {state.message.rstrip('.')}"
    if state and state.is_final():
        raise PreconditionFailed(
            expected=f"a remediation that run {found.name} began.",
            found=f"it ended before it recorded anything; {said}.",
            todo=f"Read its log (`prefect flow-run logs {found.id}`), then start it again.",
        )
    raise PreconditionFailed(
        expected=f"run {found.name} to have begun.",
        found=f"it is created and about to start; {said}.",
        todo="Try again in some seconds; where it stays so, see whether a worker takes it: "
        "remedy status",
    )


def find(ledger: Ledger, typed: str) -> "Case | FlowRun":
    """Find a remediation, or the run in Prefect that is to begin it.

    Args:
        ledger: The ledger.
        typed: As `find_case` takes it.

    Returns:
        The case, or a run that has recorded nothing yet.

    Raises:
        BadInput: There is neither, or the prefix fits several.
    """
    typed = typed.strip().lower()
    case = Case.read(ledger, typed)
    if case.request:
        return case
    asked = [entry.remediation for entry in ledger.entries(kinds=("requested",))]
    fitting = [found for found in asked if typed and found.startswith(typed)]
    if len(fitting) > 1:
        raise BadInput(
            expected="the beginning of one remediation's id.",
            found=f"{typed!r} fits {', '.join(fitting)}.",
            todo="Type more of it.",
        )
    if fitting:
        return Case.read(ledger, fitting[0])
    if _UUID.fullmatch(typed) and (case := _of_run(ledger, typed)).request:
        return case
    run = _run(typed)
    if run is None:
        raise BadInput(
            expected="a remediation's id, the beginning of it, or a Prefect run's id or name.",
            found=f"{typed!r}, which neither the ledger nor the newest runs in Prefect have.",
            todo="See `remedy runs`.",
        )
    case = _of_run(ledger, str(run.id))
    return case if case.request else run


def _run(typed: str) -> "FlowRun | None":
    """Ask Prefect for a run by its id or name, or by the remediation that it is to begin."""
    from deployments.cli import client  # noqa: PLC0415 - Prefect is imported only when asked

    found = client.run_named(typed)
    if found is None and _ID.fullmatch(typed):
        found = client.run_of(typed)
    return found


def _of_run(ledger: Ledger, run: str) -> Case:
    """Read the remediation that a run carries out: its own, or one that it recovers."""
    case = Case.read(ledger, id_of_run(run))
    if case.request:
        return case
    recovers = [entry.remediation for entry in ledger.entries(run=run) if entry.remediation]
    return Case.read(ledger, recovers[0]) if recovers else case


def standing(case: Case) -> str:
    """Say in a word or two how a case stands: its outcome, or what it does."""
    if case.outcome:
        return case.outcome
    return "waits" if case.open_gate else "at work"
