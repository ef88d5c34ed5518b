"""The worker as it is started: by `remedy up`, by systemd, in a container.

Run as `python -m deployments.services.worker`.
"""

import asyncio
import logging
import os
import signal
import sys

from prefect.settings import get_current_settings

from deployments.worker import fork_server
from deployments.worker.exposure import insist_on_protection
from deployments.worker.settings import WorkerSettings
from deployments.worker.tending import Tending
from deployments.worker.worker import RemedyWorker, Stop
from tasks.guardrails.errors import PreconditionFailed

# As sysexits.h has it: nothing is gained by starting it again unchanged.
MISCONFIGURED = 78


async def work() -> Stop:
    """Take runs until told to stop, by SIGTERM or by new code."""
    worker = RemedyWorker(WorkerSettings())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    return await Tending(worker).work()


def tell_what_is_done() -> None:
    """Log what our own code says; Prefect has set the root logger to warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    ours = logging.getLogger("deployments")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def begin_anew() -> None:
    """Become a process that loads the code as it is installed now; pid and log stay."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - there is no shell to need


def main() -> None:
    """Work; with new code, drain and begin anew as the same process."""
    tell_what_is_done()
    api = get_current_settings().api
    try:
        insist_on_protection(str(api.url or ""), has_password=bool(api.auth_string or api.key))
    except PreconditionFailed as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(MISCONFIGURED)
    try:
        stop = asyncio.run(work())
    except Exception:
        logging.getLogger("deployments.services.worker").exception("the worker ends")
        # A usual exit would wait, deaf, for the runs at work; they go on by themselves, and who
        # starts the worker anew does it now.
        os._exit(1)
    fork_server.stop()
    if stop is Stop.NEW_CODE:
        begin_anew()


if __name__ == "__main__":
    main()
