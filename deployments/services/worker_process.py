"""The worker as a process of the platform; imports nothing of Prefect."""

import os
import sys
from pathlib import Path

from deployments.services.process import PlatformService

# `remedy down` kills a service that takes 30 s to end: by then its runs are handed over.
PATIENCE = {"REMEDY_WORKER_DRAIN_SECONDS": "10", "REMEDY_WORKER_GRACE_SECONDS": "10"}


def worker_service(home: Path, environment: dict[str, str]) -> PlatformService:
    """Describe the worker's process.

    Args:
        home: REMEDY_HOME.
        environment: The client's variables.

    Returns:
        The service. Unlike the others it gets the whole environment of its starter: the
        runs reach clouds and engines by it.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
    }
    # Byte code of the flows is written, or each start would compile them again.
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    return PlatformService(
        name="worker",
        command=[sys.executable, "-m", "deployments.services.worker"],
        environment={**PATIENCE, **inherited, **environment},
        run=home / "run",
        logs=home / "logs",
        directory=Path(environment["REMEDY_CODE"]),
    )
