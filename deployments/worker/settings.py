"""Settings of the worker, from REMEDY_WORKER_* variables."""

import os
import socket

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

# A run mostly waits for databases; measured, one takes 0.6 s of a processor.
RUNS_PER_PROCESSOR = 4


def default_name() -> str:
    """Name the worker after its host."""
    return f"remedy on {socket.gethostname()}"


def default_limit() -> int:
    """Give how many runs this machine carries out at once."""
    return RUNS_PER_PROCESSOR * (os.cpu_count() or 1)


class WorkerSettings(BaseSettings):
    """How much the worker takes on, and how patient it is."""

    model_config = SettingsConfigDict(env_prefix="REMEDY_WORKER_", extra="ignore")

    name: str = Field(
        default_factory=default_name,
        description="Name in Prefect; each worker of a host needs its own.",
    )
    limit: int = Field(
        default_factory=default_limit,
        ge=1,
        description="Runs at once; four for each processor unless set. Others stay queued.",
    )
    memory_mb: int = Field(
        default=2048,
        gt=0,
        description="Resident memory of a run with its subprocesses, in MB; beyond it is killed.",
    )
    run_hours: float = Field(
        default=24, gt=0, description="Hours that a run's process may take; beyond it is killed."
    )
    drain_seconds: float = Field(
        default=300, ge=0, description="How long a worker that was told to end waits for its runs."
    )
    grace_seconds: float = Field(
        default=30, ge=0, description="From the request to end a run until its process is killed."
    )
    poll_seconds: float = Field(
        default=10,
        gt=0,
        description="Between looks into the pool while the server tells of new runs by itself.",
    )
