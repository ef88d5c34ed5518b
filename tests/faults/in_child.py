"""Executes flow runs in children of a fork server, where faults are armed; nothing is imported."""

import multiprocessing
import os
import socket

import pytest
from prefect.settings import PREFECT_API_URL

from flows.catalogue import load_all
from tests import run_in_process

# What a run would import by itself.
load_all()
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "prefect.task_engine", "sqlalchemy.dialects.sqlite"])


def start(
    run: str, flow: str, target: str, host: str, **environment: str
) -> multiprocessing.process.BaseProcess:
    """Start to execute a flow run in a process of its own.

    Args:
        run: Id of the flow run.
        flow: `module:flow`.
        target: As `run_in_process` takes it.
        host: What it takes for the name of its host; '' for the true one.
        environment: Variables of that process.

    Returns:
        The process.
    """
    child = _FORKS.Process(
        target=_execute, args=(run, flow, target, host, environment), daemon=True
    )
    with pytest.MonkeyPatch.context() as patch:  # the fork server takes it where it starts
        patch.setenv("PREFECT_API_URL", PREFECT_API_URL.value() or "")
        child.start()
    return child


def _execute(run: str, flow: str, target: str, host: str, environment: dict[str, str]) -> None:
    os.setsid()
    if host:
        socket.gethostname = lambda: host
    os.environ.update(environment)
    run_in_process.main(run, flow, target)
