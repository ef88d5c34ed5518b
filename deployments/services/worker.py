"""The worker: takes runs from the pool and starts a process for each.

Run as `python -m deployments.services.worker`. Prefect's own process worker for now; all that
is particular to it stands in this file.
"""

import asyncio
import logging
import os
import shlex
import socket
import sys
from typing import Any

from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.process import ProcessWorker

from deployments.services.settings import POOL
from flows.help.reap_remediations import start_recovery
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.recovery import reap

TYPE = ProcessWorker.type


def pool_template() -> dict[str, Any]:
    """Give the pool's template of jobs, with our defaults.

    Returns:
        The process worker's template. Output is not streamed, so that a run survives the
        worker, and the command names the engine, so that the worker does not import Prefect
        a second time to find it.
    """
    template = ProcessWorker.get_default_base_job_template()
    fields = template["variables"]["properties"]
    fields["stream_output"]["default"] = False
    fields["command"]["default"] = f"{shlex.quote(sys.executable)} -m prefect.engine"
    return template


def reap_once() -> None:
    """Look for remediations that nobody carries on: what was lost while we were down."""
    log = logging.getLogger(__name__)
    try:
        started = reap(Ledger(), start_recovery)
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker has to start
        log.warning("the reaper at the start failed; it runs each minute: %s", error)
        return
    if started:
        log.warning("recovery started of: %s", ", ".join(started))


async def work() -> None:
    """Take runs until told to end."""
    setup_signal_handlers_worker(os.getpid(), "the worker", print)
    worker = ProcessWorker(
        name=f"remedy on {socket.gethostname()}",
        work_pool_name=POOL,
        prefetch_seconds=2,
        create_pool_if_not_found=False,
    )
    await worker.start()


def main() -> None:
    """Reap once, then work."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    reap_once()
    asyncio.run(work())


if __name__ == "__main__":
    main()
