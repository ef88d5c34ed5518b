"""The reaper: finds remediations that nobody carries on, and has them recovered."""

from prefect import flow
from prefect.deployments import run_deployment

from tasks.guardrails.ledger import Ledger
from tasks.guardrails.recovery import reap


@flow(name="reap-remediations", flow_run_name="reap-remediations", persist_result=False)
def reap_remediations() -> list[str]:
    """Find remediations that nobody carries on, and start a recovery for each.

    It works from the ledger: no outcome, no live lease, and not waiting for an approval
    within its expiry, whatever Prefect says of the run. Runs every minute and when the
    worker starts.

    Args:
    Changes:
        None itself.

    Undo:
        Nothing to undo.

    Returns:
        Ids of the remediations for which a recovery was started.
    """
    return reap(Ledger(), start_recovery)


def start_recovery(remediation: str, key: str) -> None:
    """Start the recovery of a remediation; a key that was used starts nothing again."""
    run_deployment(
        "recover-remediation/recover-remediation",
        parameters={"remediation": remediation},
        idempotency_key=key,
        timeout=0,
        as_subflow=False,
    )
