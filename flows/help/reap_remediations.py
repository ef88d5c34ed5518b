"""The reaper: finds remediations that nobody carries on, and has them recovered."""

from prefect import flow, get_run_logger
from prefect.deployments import run_deployment

from flows.catalogue import load
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.recovery import reap


@flow(name="reap-remediations", flow_run_name="reap-remediations", persist_result=False)
def reap_remediations() -> list[str]:
    """Find remediations that nobody carries on, and start a recovery for each.

    It works from the ledger: no outcome, no live lease, and not waiting for an approval
    within its expiry, whatever Prefect says of the run. Runs every minute and when the
    worker starts. A flow file that cannot be imported is an error in the run's log: what it
    began is recovered when it is mended, all else meanwhile.

    Args:
    Changes:
        None itself.

    Undo:
        Nothing to undo.

    Returns:
        Ids of the remediations for which a recovery was started.
    """
    started = reap(Ledger(), start_recovery)
    for name, why in load().broken.items():
        get_run_logger().error("the flow file %s.py cannot be imported: %s", name, why)
    return started


def start_recovery(remediation: str, key: str) -> None:
    """Start the recovery of a remediation; a key that was used starts nothing again."""
    run_deployment(
        "recover-remediation/recover-remediation",
        parameters={"remediation": remediation},
        idempotency_key=key,
        timeout=0,
        as_subflow=False,
    )
