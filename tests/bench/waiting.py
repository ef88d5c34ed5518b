"""Runs that wait for approval: what they cost while nobody decides."""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

from tasks.guardrails import surface
from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.ledger import Ledger
from tests.approving import Approvers
from tests.bench.section import new_home, write
from tests.bench.worker import OURS, deploy, platform_of, until, workers

_MB = 1024**2
_SETTLE_SECONDS = 20
_BATCH = 50
_PAUSED = FlowRunFilter(
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED]))
)
_BATCH_SECONDS = 900  # fifty runs start on a busy machine, too


@dataclass(frozen=True)
class Cost:
    """What is there at a moment.

    Args:
        worker_mb: Resident memory of the worker and its fork server, in MB.
        server_mb: Resident memory of Prefect's server, in MB.
        processes: Processes of runs.
        cpu_percent: Of one processor, of the worker, measured over some seconds.
    """

    worker_mb: float
    server_mb: float
    processes: int
    cpu_percent: float


def measure(home: Path, runs: int, approved: int) -> tuple[Cost, Cost, int]:
    """Measure before there are runs, and while all of them wait; then approve some.

    Args:
        home: An empty folder that PostgreSQL's user reaches.
        runs: How many.
        approved: How many of them are approved, in batches.

    Returns:
        What it costs with one of them, and with all; how many went on to their end.
    """
    folder = home / "toy"
    folder.mkdir()
    os.environ |= {"REMEDY_HOME": str(home), "WORKER_TEST_FOLDER": str(folder)}
    with (
        platform_of(home) as settings,
        workers(home, [OURS]) as (worker,),
        get_client(sync_client=True) as client,
    ):
        deployment = deploy(client, OURS)
        _start(client, deployment, 1)
        before = cost(worker, settings.api_port)
        for first in range(1, runs, _BATCH):  # the server is not asked for all of them at once
            _start(client, deployment, min(first + _BATCH, runs))
        after = cost(worker, settings.api_port)
        return before, after, sum(_resume(client) for _ in range(0, approved, _BATCH))


def _resume(client: SyncPrefectClient) -> int:
    """Approve some of the runs that wait; give how many of them ended remediated."""
    ledger = Ledger()
    waiting = [str(run.id) for run in client.read_flow_runs(flow_run_filter=_PAUSED, limit=_BATCH)]
    for run in waiting:
        Approvers(ledger).approve_gate(Case.read(ledger, id_of_run(run)))
        if refusal := surface.wake(run):
            raise SystemExit(f"run {run} was not resumed: {refusal}")
    outcomes = [_outcome(ledger, run) for run in waiting]
    return outcomes.count("remediated")


def _outcome(ledger: Ledger, run: str) -> str:
    """Wait for a run's end; those behind it are not asked about meanwhile."""
    return str(until(lambda: Case.read(ledger, id_of_run(run)).outcome, _BATCH_SECONDS))


def _start(client: SyncPrefectClient, deployment: UUID, many: int) -> None:
    """Start runs until so many wait."""
    for number in range(_waiting(client), many):
        client.create_flow_run_from_deployment(
            deployment,
            parameters={"target": "toy", "word": f"waits-{number}-{time.time():.0f}"},
        )
    until(lambda: _waiting(client) >= many, _BATCH_SECONDS)


def _waiting(client: SyncPrefectClient) -> int:
    return client.count_flow_runs(flow_run_filter=_PAUSED)


def cost(worker: int, port: int) -> Cost:
    """Measure the processes as they are now, once they have settled."""
    time.sleep(_SETTLE_SECONDS)
    process = psutil.Process(worker)
    family = [process, *process.children(recursive=True)]
    server = next(
        one
        for one in psutil.process_iter(["cmdline"])
        if "deployments.services.serving" in (line := one.info["cmdline"] or [])
        and str(port) in line
    )
    process.cpu_percent()
    time.sleep(_SETTLE_SECONDS)
    # The worker, its fork server, that one's resource tracker and the child that waits for a run.
    return Cost(
        worker_mb=sum(one.memory_info().rss for one in family) / _MB,
        server_mb=server.memory_info().rss / _MB,
        processes=len(family) - 4,
        cpu_percent=process.cpu_percent(),
    )


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many wait")
    parser.add_argument("--approve", type=int, default=200, help="how many of them are approved")
    given = parser.parse_args()
    runs, approved = given.runs, min(given.runs, given.approve)
    with new_home() as home:
        before, after, ended = measure(home, runs, approved)
    rows = (
        ("resident memory of worker and fork server, MB", "worker_mb", ".0f"),
        ("resident memory of Prefect's server, MB", "server_mb", ".0f"),
        ("processes of runs", "processes", "d"),
        ("the worker's part of a processor, %", "cpu_percent", ".1f"),
    )
    write(
        [
            "## Runs that wait for approval",
            "",
            f"| | 1 waits | {runs} wait |",
            "| --- | --- | --- |",
            *(
                f"| {what} | {format(getattr(before, name), form)} "
                f"| {format(getattr(after, name), form)} |"
                for what, name, form in rows
            ),
            "",
            f"Then {approved} of them were approved: {ended} went on and ended remediated.",
        ]
    )


if __name__ == "__main__":
    main()
