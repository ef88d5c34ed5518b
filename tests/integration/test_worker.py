"""The worker: runs of the catalogue, each in a child of its own, by Prefect's semantics."""

from pathlib import Path

import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun

from deployments.worker import pool
from tasks.guardrails import surface
from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tests.approving import Approvers
from tests.integration.test_worker_fixtures import Workers, workers
from tests.waiting import until

__all__ = ["workers"]


def test_a_run_is_carried_out_and_tells_the_api(workers: Workers) -> None:
    """A remediation ends proved; its states, its logs and its worker are known to Prefect."""
    workers.start()
    run = workers.create("toy-one-stage", target="toy")
    state = workers.end(run)
    assert state.name == "Remediated", state.message
    assert (workers.folder / "a").read_text() == "new a"
    logs = until(lambda: (found := workers.logs(run)) and "write b" in "\n".join(found) and found)
    assert any("Beginning flow run" in line for line in logs)
    now = until(lambda: (read := workers.read(run)).labels.get("prefect.worker.name") and read)
    assert now.labels["prefect.worker.name"] == f"worker 0 of {workers.pool}"
    with workers.client() as client:
        states = [one.name for one in client.read_flow_run_states(run.id)]
    assert states == ["Scheduled", "Pending", "Running", "Remediated"]


def test_nothing_of_one_run_reaches_the_next(workers: Workers) -> None:
    """Variables, modules and folder are those of a process that ran nothing yet."""
    workers.start()
    for word in ("one", "two", "three"):
        assert workers.end(workers.create("look-around", word=word)).is_completed()
    lines = [line.split() for line in (workers.folder / "looked").read_text().splitlines()]
    assert [(word, before) for word, _, before in lines] == [
        ("one", "False"),
        ("two", "False"),
        ("three", "False"),
    ]
    assert len({pid for _, pid, _ in lines}) == 3


def test_a_run_that_waits_for_approval_has_no_process(workers: Workers) -> None:
    """It suspends, its child ends, and after the decision it goes on in a new one."""
    workers.start()
    ledger = Ledger()
    run = workers.create("toy-one-stage", target="toy", risk="disruptive")
    until(lambda: (state := workers.read(run).state) and state.is_paused())
    until(lambda: not Path(f"/proc/{workers.pid(run)}").exists())
    first = workers.pid(run)
    Approvers(ledger).approve_gate(Case.read(ledger, id_of_run(str(run.id))))
    assert surface.wake(str(run.id)) == ""
    assert workers.end(run).name == "Remediated"
    assert workers.pid(run) != first


def test_a_run_that_is_approved_at_once_waits_for_its_last_process(workers: Workers) -> None:
    """The process of a run that just suspended still ends: the next one starts behind it."""
    worker = workers.start()
    ledger = Ledger()
    run = workers.create("toy-one-stage", target="toy", risk="disruptive")
    until(lambda: (state := workers.read(run).state) and state.is_paused())
    Approvers(ledger).approve_gate(Case.read(ledger, id_of_run(str(run.id))))
    assert surface.wake(str(run.id)) == ""
    assert workers.end(run).name == "Remediated"
    assert worker.poll() is None


def test_the_pool_of_an_older_version_is_made_anew(workers: Workers) -> None:
    """A pool of another type is replaced where no run would be lost, and refused else."""
    name = f"{workers.pool}-old"
    with workers.client() as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        workers.register(client, "stay", name="stay-old", work_pool_name=name)
        deployment = client.read_deployment_by_name("stay/stay-old")
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"name": "x"})
        with pytest.raises(PreconditionFailed, match="1 open runs"):
            pool.prepare(client, name)
        assert client.read_work_pool(name).type == "process"
        client.delete_flow_run(run.id)
        pool.prepare(client, name)
        assert client.read_work_pool(name).type == "remedy"


def test_a_deployment_in_another_pool_is_found(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker would run what the API says; `remedy doctor` warns of that, of each page."""
    monkeypatch.setattr(pool, "_PAGE", 1)
    other = f"{workers.pool}-other"
    with workers.client() as client:
        assert pool.offered_elsewhere(client, workers.pool, ["held-change"]) == []
        client.create_work_pool(WorkPoolCreate(name=other, type="process"))
        workers.register(client, "held-change", work_pool_name=other)
        assert pool.offered_elsewhere(client, workers.pool, ["held-change"]) == [
            f"deployment 'held-change' is in pool {other!r}"
        ]
        assert f"pool {other!r} is of type 'process'" in pool.offered_elsewhere(client, other, [])


def test_priorities_and_limits_of_queues_hold(workers: Workers) -> None:
    """What is urgent is taken first; a queue's limit keeps its other runs waiting."""
    made: list[FlowRun] = []
    with workers.client() as client:
        deployment = client.read_deployment_by_name("stay/stay").id
        for name, priority in (("late", 3), ("urgent", 2), ("narrow", 1)):
            queue = client.create_work_queue(
                name=name, work_pool_name=workers.pool, priority=priority
            )
        client.update_work_queue(queue.id, concurrency_limit=1)
        for name in ("late", "urgent", "narrow", "narrow"):
            run = client.create_flow_run_from_deployment(
                deployment,
                parameters={"name": f"{len(made)}-{name}", "seconds": 2},
                work_queue_name=name,
            )
            made.append(run)
    workers.start(limit=2)
    assert all(workers.end(run).is_completed() for run in made)
    crowd = [line.split()[0] for line in (workers.folder / "crowd").read_text().splitlines()]
    assert sorted(crowd[:2]) == ["1-urgent", "2-narrow"]
    assert sorted(crowd[2:]) == ["0-late", "3-narrow"]
