"""Flow runs that act right now on this machine, as the ledger's leases tell."""

import contextlib
from pathlib import Path

import psutil

from tasks.guardrails.errors import TargetBusy
from tasks.guardrails.holders import Holder, holders
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings


def processes_at_work(home: Path) -> list[Holder]:
    """Find the leases of a home whose very process runs here.

    Args:
        home: REMEDY_HOME.

    Returns:
        One holder for each process.
    """
    config = Settings(home=home)
    if not config.ledger_url and not (home / "ledger.db").exists():
        return []
    found = {
        holder.pid: holder
        for holder in holders(Ledger(config))
        if holder.is_live and holder.runs_here
    }
    return list(found.values())


def insist_on_rest(busy: list[Holder]) -> None:
    """Make sure that nothing acts.

    Raises:
        TargetBusy: Something does.
    """
    if busy:
        raise TargetBusy(
            expected="no remediation at work.",
            found=" ".join(holder.sentence() for holder in busy),
            todo="Wait for it or `remedy cancel` it; or run `remedy down --force`, and the next "
            "`remedy up` recovers it.",
        )


def end(busy: list[Holder]) -> None:
    """End the processes of holders that still run: a worker that was killed left them behind."""
    for holder in busy:
        if not holder.runs_here:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(holder.pid)
            children = process.children(recursive=True)
            process.kill()
            psutil.wait_procs([process, *children], timeout=10)
