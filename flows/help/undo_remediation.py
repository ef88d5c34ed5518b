"""Undo of an earlier remediation."""

from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Plan
from tasks.guardrails.remediation import remediation as make_remediation
from tasks.guardrails.remediation import remediation_id
from tasks.guardrails.undo_plan import plan_undo
from tasks.platforms.targets import TargetName


@make_remediation(guide="")
def undo_remediation(target: TargetName, remediation: str) -> Plan:
    """Take an earlier remediation back.

    The plan comes from the ledger: every change of that remediation that stands, in reverse
    order. It is refused where a later remediation touched the same objects. What the undo
    would lose is counted now and shown before anybody approves.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        remediation: Id of the remediation to take back, as `remedy runs` shows it.

    Changes:
        The reverts of that remediation's changes.

    Undo:
        An undo is not undone: run the remediation again.
    """
    return plan_undo(Ledger(), remediation, target, remediation_id())
