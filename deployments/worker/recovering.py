"""Recovery at once: a run that has ended without an outcome goes on from the ledger."""

import logging
from collections.abc import Mapping
from typing import Any

from flows.help.reap_remediations import start_recovery
from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.holders import holder_of, remediation_resource
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.recovery import reap, start_recovery_of

_log = logging.getLogger(__name__)


def case_of_run(ledger: Ledger, run: str, parameters: Mapping[str, Any]) -> Case | None:
    """Find the remediation that a run works on, if it has not ended.

    Args:
        ledger: The ledger.
        run: Id of the flow run.
        parameters: Its parameters: a recovery names the remediation that it carries on.

    Returns:
        The case; None where the run has recorded nothing, or the outcome is there.
    """
    for remediation in (id_of_run(run), str(parameters.get("remediation", ""))):
        case = Case.read(ledger, remediation)
        if case.request and run in case.runs:
            return None if case.outcome else case
    return None


def recover(run: str, parameters: Mapping[str, Any], *, by_hand: bool = False) -> str:
    """Start the recovery of what a run that ended had begun.

    One that was recovered before is left to the reaper, which tries ever less often: a run
    that dies each time would be started again and again.

    Args:
        run: Id of the flow run.
        parameters: Its parameters.
        by_hand: Whether a person ended the run; then it is recovered at once in any case.

    Returns:
        Id of the remediation whose recovery was started; '' where none was.
    """
    ledger = Ledger()
    case = case_of_run(ledger, run, parameters)
    if case is None:
        return ""
    held = holder_of(ledger, remediation_resource(case.id))
    if held is not None and held.is_live and not held.is_dead:
        return ""
    if case.of_kind("recovery_started") and not by_hand:
        return ""
    start_recovery_of(ledger, case, start_recovery)
    return case.id


def reap_once() -> None:
    """Look for remediations that nobody carries on: what was lost while no worker was there."""
    try:
        started = reap(Ledger(), start_recovery)
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker has to start
        _log.warning("the reaper at the start failed; it runs each minute: %s", error)
        return
    if started:
        _log.warning("recovery started of: %s", ", ".join(started))
