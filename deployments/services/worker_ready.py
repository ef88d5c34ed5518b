"""Whether the worker that was started takes runs; it may refuse to, and says why in its log."""

import os
import time
from datetime import UTC, datetime

from prefect.client.orchestration import get_client

from deployments.services.settings import POOL
from deployments.worker import pool
from deployments.worker.settings import default_name
from infra.sandbox.processes import Service

WITHIN_SECONDS = 120.0  # it imports everything first


def wait(service: Service) -> None:
    """Wait until the worker has told its pool of itself.

    Args:
        service: The worker's process, just started.

    Raises:
        PreconditionFailed: It has ended, or says nothing.
    """
    deadline = time.monotonic() + WITHIN_SECONDS
    name = os.environ.get("REMEDY_WORKER_NAME") or default_name()
    with get_client(sync_client=True) as client:
        while True:
            process = service.process()
            if process is None or time.monotonic() > deadline:
                raise service.failed("take runs")
            began = datetime.fromtimestamp(process.create_time(), UTC)
            if pool.has_heard_of(client, POOL, name, began):
                return
            time.sleep(0.1)
