"""`remedy approve` and `refuse`: decisions in the ledger; no code passes Prefect."""

import time
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from deployments.cli import client, plans
from deployments.cli.errors import Unreachable
from deployments.cli.lookup import find_case
from deployments.cli.output import AsJson, console, emit
from deployments.cli.secrets import code_of
from deployments.cli.starting import Code, Run
from tasks.guardrails import codes
from tasks.guardrails.approval import Count, Gate, Verb, count, decide, waiting_gate
from tasks.guardrails.case import Case
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.surface import wake

As = Annotated[str, Parameter(name="--as", help="Your name as an approver.")]
Comment = Annotated[str, Parameter(help="Why; goes into the ledger and the report.")]
_HEARD_WITHIN_SECONDS = 60.0


def approve(
    run: Run, /, *, as_: As, code: Code = "", comment: Comment = "", as_json: AsJson = False
) -> None:
    """Approve what a remediation waits for; its plan is shown before the code is asked for."""
    _decide(run, "approve", as_, code, comment, as_json=as_json)


def refuse(
    run: Run, /, *, as_: As, code: Code = "", comment: Comment = "", as_json: AsJson = False
) -> None:
    """Refuse what a remediation waits for; what earlier stages did is taken back."""
    _decide(run, "refuse", as_, code, comment, as_json=as_json)


def _decide(run: str, verb: Verb, approver: str, code: str, comment: str, *, as_json: bool) -> None:
    ledger = Ledger()
    case = find_case(ledger, run)
    gate = waiting_gate(case)
    if not as_json:
        console().print(plans.gate(case, gate, count(ledger, case, gate)))
    stand, woken = decide_and_wake(
        ledger, case, gate, verb, approver, code_of(approver, code), comment
    )
    said = {
        "remediation": case.id,
        "gate": gate.name,
        "decision": verb,
        "approved_by": stand.approved_by,
        "needed": stand.needed,
        "open": stand.is_open,
        "woken": woken,
    }
    line = f"{verb.capitalize()}d {gate.name} as {approver}. {stand.sentence()}"
    if verb == "approve" and not stand.is_open:
        line += " The run goes on."
    emit(said, Text(line), as_json=as_json)


def decide_and_wake(
    ledger: Ledger, case: Case, gate: Gate, verb: Verb, approver: str, code: str, comment: str
) -> tuple[Count, bool]:
    """Decide in the ledger, and wake the run when nothing more is waited for.

    Args:
        ledger: The ledger.
        case: The remediation.
        gate: The gate that was shown: the decision counts for it and no other.
        verb: 'approve' or 'refuse'.
        approver: Name of the approver.
        code: Their code.
        comment: Why.

    Returns:
        How the gate stands, and whether the run was woken.

    Raises:
        Unreachable: The decision stands, and the run could not be woken.
    """
    with client.kept_open():  # before the decision: from it on the run waits
        stand = decide(
            ledger,
            case,
            gate,
            approver=approver,
            code=code,
            decision=verb,
            comment=comment,
            source=codes.HOST,
        )
        if stand.is_open:
            return stand, False
        _wake(ledger, case, gate)
    return stand, True


def _wake(ledger: Ledger, case: Case, gate: Gate) -> None:
    """Wake the run until it has heard: the decision may come before it has suspended."""
    give_up = time.monotonic() + _HEARD_WITHIN_SECONDS
    while True:
        now = Case.read(ledger, case.id)
        opened = now.open_gate
        if now.outcome or opened is None or opened.facts["digest"] != gate.digest:
            return  # it looked into the ledger by itself
        try:
            reason = _asked_to_wake(now.runs[-1])
        except RemediationError:
            raise
        except Exception as error:
            raise _not_woken(case, str(error)) from error
        if not reason:
            return
        if time.monotonic() > give_up:
            raise _not_woken(case, reason)
        time.sleep(0.5)


def _not_woken(case: Case, why: str) -> Unreachable:
    return Unreachable(
        expected="Prefect to wake the run.",
        found=f"{why.rstrip('.')}.",
        state="The decision stands in the ledger.",
        todo=f"Run `remedy recover {case.id}` when Prefect answers: it goes on from the ledger.",
    )


def _asked_to_wake(run: str) -> str:
    return client.ask(lambda _: wake(run))
