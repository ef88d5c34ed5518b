"""The fork server's child: carries one run out and ends. Preloaded, so that nothing is imported."""

import contextlib
import os
import signal
import sys
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import UUID

from prefect._internal import control_listener
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort, Pause, TerminationSignal
from prefect.flow_engine import run_flow
from prefect.logging.loggers import flow_run_logger

from deployments.worker.installed import catalogue
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


def report(answer: Connection) -> None:
    """Tell who the fork server is, and which code it has loaded."""
    answer.send((os.getppid(), LOADED))
    answer.close()


def execute(module: str, name: str, run: str, environment: dict[str, str]) -> None:
    """Carry out a run.

    Its state, logs and events reach the API before the process ends. On SIGTERM the flow stops
    where it is, gives its leases up and leaves its state to the worker, which knows why; on
    SIGUSR1 it does so before its next change.

    Args:
        module: The module of the catalogue.
        name: The flow, by its name there.
        run: Id of the flow run.
        environment: Variables of this run.
    """
    signal.signal(signal.SIGUSR1, lambda *_: draining.ask())
    os.setsid()  # its subprocesses are found, and ended, as a group
    with contextlib.suppress(OSError):  # where memory ends, a run ends before the worker does
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    os.environ.update(environment)
    # Prefect's engine then proposes no state of its own when it is terminated (3.8.8).
    control_listener._set_intent("relinquish")  # noqa: SLF001 - the only way to say it in-process
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(UUID(run))
    try:
        run_flow(
            catalogue(module)[name],
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
