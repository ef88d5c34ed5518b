"""The fork server's child: carries one run out and ends. Preloaded, so that nothing is imported."""

import contextlib
import logging
import os
import signal
import sys
import threading
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from httpx import HTTPError
from prefect._internal import control_listener
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import SyncClientContext
from prefect.exceptions import Abort, Pause, PrefectHTTPStatusError, TerminationSignal
from prefect.flow_engine import run_flow
from prefect.logging.loggers import flow_run_logger

from deployments.worker import observing
from deployments.worker.installed import catalogue
from deployments.worker.place import Place
from tasks.guardrails import draining
from tasks.guardrails.version import code_version
from tasks.platforms.targets import PLATFORMS

# A run is of the version that was imported, whatever lies on the disk by then.
LOADED = code_version()
# What a run would import by itself, measured: half a second of a processor for each.
for _name in (
    "anyio._backends._asyncio",
    "encodings.idna",
    "prefect._internal.observers",
    "prefect.task_engine",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "sqlite3",
    *(path.partition(":")[0] for path in PLATFORMS.values()),
):
    import_module(_name)
_FIRST_TO_GO = "500"
TERMINATED = 128 + signal.SIGTERM


def _say_where(client: SyncPrefectClient, run: UUID, place: str) -> None:
    try:
        client.update_flow_run(run, infrastructure_pid=place)
    except (HTTPError, PrefectHTTPStatusError) as error:
        logging.getLogger(__name__).warning("run %s did not say where it is: %s", run, error)


def report(answer: Connection) -> None:
    """Tell who the fork server is, and which code it has loaded."""
    answer.send((os.getppid(), LOADED))
    answer.close()


class Order(NamedTuple):
    """The run that a child is to carry out.

    Args:
        flow: The flow, by its name in the catalogue.
        run: The flow run, as JSON: the worker has just read it.
        environment: Variables of this run.
    """

    flow: str
    run: str
    environment: dict[str, str]


def stand_by(module: str, orders: Connection) -> None:
    """Get ready, and carry out the one run that is ordered; end where none is any more.

    What does not depend on the run is done before it is there: nobody waits for it then.

    Args:
        module: The module of the catalogue.
        orders: Where an `Order` comes from; closed where the worker has ended.
    """
    signal.signal(signal.SIGUSR1, lambda *_: draining.ask())
    os.setsid()  # its subprocesses are found, and ended, as a group
    with contextlib.suppress(OSError):  # where memory ends, a run ends before the worker does
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    # Prefect's engine then proposes no state of its own when it is terminated (3.8.8).
    control_listener._set_intent("relinquish")  # noqa: SLF001 - the only way to say it in-process
    observing.install()
    with SyncClientContext() as prefect:  # one for the run: each client reads all certificates
        try:
            order: Order = orders.recv()
        except EOFError:
            return
        orders.close()
        execute(prefect.client, module, order)


def execute(client: SyncPrefectClient, module: str, order: Order) -> None:
    """Carry out a run.

    Its state, logs and events reach the API before the process ends. On SIGTERM the flow stops
    where it is, gives its leases up and leaves its state to the worker, which knows why; on
    SIGUSR1 it does so before its next change.

    Args:
        client: Of Prefect's API.
        module: The module of the catalogue.
        order: The run.
    """
    os.environ.update(order.environment)
    flow_run = FlowRun.model_validate_json(order.run)
    # At once: where a resumed run is Running and says where its last process was, another worker
    # of this host takes it for dead.
    place = str(Place.of(os.getpid()))
    telling = threading.Thread(target=_say_where, args=(client, flow_run.id, place), daemon=True)
    telling.start()
    try:
        run_flow(
            catalogue(module)[order.flow],
            flow_run=flow_run,
            return_type="state",
            error_logger=flow_run_logger(flow_run),  # type: ignore[arg-type] # as prefect.engine does
        )
    except (Abort, Pause):
        return
    except TerminationSignal:
        sys.exit(TERMINATED)
    finally:
        # What is left is to send logs and events.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
