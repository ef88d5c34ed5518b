"""A worker of the tests' catalogue in a process of its own: `python -m ... POOL`."""

import asyncio
import signal
import sys

from deployments.services.worker import begin_anew, tell_what_is_done
from deployments.worker import fork_server
from deployments.worker.settings import WorkerSettings
from deployments.worker.tending import Tending
from deployments.worker.worker import RemedyWorker, Stop


async def work(pool: str) -> Stop:
    """Work until told to stop."""
    worker = RemedyWorker(WorkerSettings(), "tests.integration.test_worker_flows", pool)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    return await Tending(worker).work()


if __name__ == "__main__":
    tell_what_is_done()
    stop = asyncio.run(work(sys.argv[1]))
    fork_server.stop()
    if stop is Stop.NEW_CODE:
        begin_anew()
