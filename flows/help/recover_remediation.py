"""Recovery of a remediation whose process is gone."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.catalogue import load
from tasks.guardrails import surface
from tasks.guardrails.engine import case_of
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.recovery import note_cancellation
from tasks.guardrails.remediation import find, run_case


@flow(
    name="recover-remediation",
    flow_run_name="recover-remediation {remediation}",
    persist_result=False,
)
def recover_remediation(remediation: str) -> State[Any]:
    """Carry on a remediation whose run was killed, cancelled, deleted or lost.

    It goes on from what the ledger and the system say, under the approvals that were given;
    what a person cancelled is taken back instead. The old run is never revived.

    Args:
        remediation: Id of the remediation, as `remedy runs` shows it.

    Changes:
        Those of the remediation that it carries on.

    Undo:
        `remedy undo` of the remediation that it carries on.
    """
    catalogue = load()
    ledger = Ledger()
    run = surface.run_id()
    case = case_of(ledger, remediation)
    catalogue.insist_on(case.name)
    note_cancellation(ledger, case, run)
    return run_case(ledger, find(case.name), remediation, run)
