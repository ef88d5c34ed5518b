"""What a worker that is told to end does, told again, and by whom."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.workers.base import BaseWorker

from deployments.worker.settings import WorkerSettings
from deployments.worker.worker import RemedyWorker, Stop


@pytest.fixture
def worker(home: Path) -> RemedyWorker:
    """Give a worker that was not started."""
    assert home
    return RemedyWorker(WorkerSettings(), "tests.integration.test_worker_flows")


def test_new_code_changes_nothing_for_who_was_told_to_end(worker: RemedyWorker) -> None:
    """It is not hurried by it, and does not begin anew."""
    worker.stop()
    worker.stop(Stop.NEW_CODE)
    assert not worker.is_hurried
    assert worker.stop_reason is Stop.TOLD


def test_who_drains_for_new_code_is_not_hurried_by_the_first_word(worker: RemedyWorker) -> None:
    """Told to end then, it waits as long as for any drain; told twice it does not."""
    worker.stop(Stop.NEW_CODE)
    worker.stop()
    assert not worker.is_hurried
    assert worker.stop_reason is Stop.TOLD
    worker.stop()
    assert worker.is_hurried


def test_a_run_deleted_while_it_is_taken_ends_no_worker(
    worker: RemedyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails there is logged, and the run's place is free again."""

    async def gone(_worker: object, _run: FlowRun) -> None:
        raise ObjectNotFound(http_exc=ValueError("deleted"))

    monkeypatch.setattr(BaseWorker, "_submit_run", gone)
    run = FlowRun(id=uuid4(), flow_id=uuid4())
    worker._submitting_flow_run_ids.add(run.id)  # noqa: SLF001 - as the base class does
    monkeypatch.setattr(worker, "_release_limit_slot", lambda _run: None)
    asyncio.run(worker._submit_run(run))  # noqa: SLF001 - the base class calls it
    assert worker.is_idle
