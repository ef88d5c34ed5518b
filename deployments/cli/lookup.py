"""From what a person types to a remediation: its id, a prefix of it, or a run of Prefect."""

import re

from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.guardrails.ledger import Ledger

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


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
    typed = typed.strip().lower()
    case = Case.read(ledger, typed)
    if case.request:
        return case
    if _UUID.fullmatch(typed):
        return _of_run(ledger, typed)
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
    from deployments.cli import client  # noqa: PLC0415 - Prefect is imported only when asked

    run = client.run_named(typed)
    if run is None:
        raise BadInput(
            expected="a remediation's id, the beginning of it, or a Prefect run's id or name.",
            found=f"{typed!r}, which neither the ledger nor Prefect knows.",
            todo="See `remedy runs`.",
        )
    return _of_run(ledger, str(run.id))


def _of_run(ledger: Ledger, run: str) -> Case:
    """Find the remediation that a run carries out: its own, or one that it recovers."""
    case = Case.read(ledger, id_of_run(run))
    if case.request:
        return case
    for entry in ledger.entries(run=run):
        if entry.remediation:
            return Case.read(ledger, entry.remediation)
    from deployments.cli import client  # noqa: PLC0415 - Prefect is imported only when asked

    known = client.read(run)
    if known is None or known.state is None:
        raise BadInput(
            expected="the id of a Prefect run.",
            found=f"{run}, which Prefect does not know.",
            todo="See `remedy runs`.",
        )
    raise PreconditionFailed(
        expected=f"run {known.name} to have begun.",
        found=f"Prefect says {known.state.name}: {known.state.message or 'no message'}.",
        todo="Wait until the worker takes it (`remedy status`), then try again.",
    )


def standing(case: Case) -> str:
    """Say in a word or two how a case stands: its outcome, or what it does."""
    if case.outcome:
        return case.outcome
    return "waits" if case.open_gate else "at work"
