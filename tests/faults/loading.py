"""Catches a restore while its backup is being loaded: of few rows that is through in a moment."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from infra.sandbox.planner import Planner

_STEP_SECONDS = 0.005


def wait_for_load(sandbox: Planner, pid: int) -> None:
    """Return while a program of a run fills a side database; it goes on.

    Args:
        sandbox: Where it does.
        pid: Of the run's process.
    """
    process = psutil.Process(pid)
    while True:
        with _held(process) as is_running:
            if is_running and _loads(sandbox):
                return
        ended = not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        assert not ended, "it ended before its load was seen"
        time.sleep(_STEP_SECONDS)


@contextmanager
def _held(process: psutil.Process) -> Iterator[bool]:
    """Hold the programs that load while the server is asked; gives whether there are any."""
    loaders = []
    with suppress(psutil.NoSuchProcess):
        for one in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if one.name() == "pg_restore":
                    one.suspend()
                    loaders.append(one)
    try:
        yield bool(loaders)
    finally:
        for one in loaders:
            with suppress(psutil.NoSuchProcess):
                one.resume()


def _loads(sandbox: Planner) -> bool:
    with sandbox.connect("postgres") as session:
        row = session.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'remedy:%' "
            "AND datname LIKE '%restore%' AND query ~* '^(copy|create|alter)'"
        ).fetchone()
    return bool(row and row[0])
