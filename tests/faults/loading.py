"""Catches a restore while its backup is being loaded: of few rows that is through in a moment."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from infra.sandbox.planner import Planner

_STEP_SECONDS = 0.005


@contextmanager
def held_in_load(sandbox: Planner, pid: int) -> Iterator[list[psutil.Process]]:
    """Hold the programs of a run that fill a side database while the block runs.

    Args:
        sandbox: Where they do.
        pid: Of the run's process.

    Yields:
        The programs, which go on afterwards.
    """
    process = psutil.Process(pid)
    while True:
        with _held(process) as loaders:
            if loaders and _loads(sandbox):
                yield loaders
                return
        ended = not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        assert not ended, "it ended before its load was seen"
        time.sleep(_STEP_SECONDS)


@contextmanager
def _held(process: psutil.Process) -> Iterator[list[psutil.Process]]:
    """Hold the programs that load while the block runs; gives those that have not ended."""
    loaders = []
    with suppress(psutil.NoSuchProcess):
        for one in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if one.name() == "pg_restore" and one.status() != psutil.STATUS_ZOMBIE:
                    one.suspend()
                    loaders.append(one)
    try:
        yield loaders
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
