"""What can go wrong with a run or a worker: nothing is left Running, everything is recovered."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.states import Pending

from deployments.worker.place import Place
from deployments.worker.settling import Settler
from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.ledger import Ledger
from tests.integration.test_worker_fixtures import Workers, workers
from tests.waiting import until

__all__ = ["workers"]


def recoveries(run_id: object) -> int:
    """Count how often a recovery was started."""
    return len(Case.read(Ledger(), id_of_run(str(run_id))).of_kind("recovery_started"))


def fork_server_of(pid: int) -> psutil.Process:
    """Give the fork server of a worker."""
    children = psutil.Process(pid).children()
    return next(one for one in children if "multiprocessing.forkserver" in " ".join(one.cmdline()))


@pytest.mark.parametrize("stopped", [False, True], ids=["at work", "hanging"])
def test_a_cancelled_run_ends_and_is_taken_back(workers: Workers, *, stopped: bool) -> None:
    """Its process ends, killed where it hangs; the run is Cancelled, what it did is undone."""
    workers.start(grace_seconds=3)
    (workers.folder / "hold-b").touch()
    run = workers.create("held-change", target="toy")
    workers.reached("b")
    pid = workers.pid(run)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    workers.cancel(run)
    state = workers.end(run)
    assert state.name == "Cancelled", state.message
    assert not psutil.pid_exists(pid)
    assert workers.outcome(run) == "undone"
    assert (workers.folder / "a").read_text() == ""
    assert recoveries(run.id) == 1


def test_a_killed_child_is_marked_and_recovered_at_once(workers: Workers) -> None:
    """Crashed with the signal as its reason; what it had begun is carried on."""
    workers.start()
    (workers.folder / "hold-b").touch()
    run = workers.create("held-change", target="toy")
    workers.reached("b")
    os.kill(workers.pid(run), signal.SIGKILL)
    (workers.folder / "hold-b").unlink()
    state = workers.end(run)
    assert (state.name, state.message) == ("Crashed", "Its process was killed by signal 9.")
    assert workers.outcome(run) == "remediated"
    assert (workers.folder / "b").read_text() == "new b"


@pytest.mark.parametrize(
    ("settings", "parameters", "reason"),
    [
        ({"memory_mb": 600}, {"megabytes": 700}, "MB of memory; the limit is 600"),
        ({"run_hours": 0.01}, {}, "hours; the limit is 0.01"),
    ],
    ids=["memory", "time"],
)
def test_a_child_beyond_its_limits_is_killed(
    workers: Workers, settings: dict[str, float], parameters: dict[str, int], reason: str
) -> None:
    """It is Crashed with what it used and the limit; a run within them is not."""
    workers.start(**settings)
    run = workers.create("stay", name="big", seconds=300, **parameters)
    state = workers.end(run)
    assert state.name == "Crashed"
    assert reason in (state.message or "")
    assert workers.end(workers.create("stay", name="small")).is_completed()


def test_the_fork_server_dies(workers: Workers) -> None:
    """What runs goes on to its end; the fork server is started anew for what comes."""
    worker = workers.start()
    (workers.folder / "hold-b").touch()
    run = workers.create("held-change", target="toy")
    workers.reached("b")
    fork_server_of(worker.pid).kill()
    until(lambda: "started anew" in workers.log().read_text())
    assert workers.end(workers.create("stay", name="next")).is_completed()
    (workers.folder / "hold-b").unlink()
    assert workers.end(run).name == "Remediated"
    assert worker.poll() is None


def test_a_run_taken_again_is_not_crashed_for_its_last_process(workers: Workers) -> None:
    """Prefect keeps the place of a run's last process until the next one is known."""
    run = workers.create("stay", name="again")
    gone = subprocess.Popen(["true"])
    place = str(Place.of(gone.pid))
    gone.wait()
    with workers.client() as client:
        client.set_flow_run_state(run.id, Pending(), force=True)
        client.update_flow_run(run.id, infrastructure_pid=place)

    async def sweep() -> None:
        async with get_client() as client:
            assert await Settler(client).sweep(workers.pool, {}, ()) == []

    asyncio.run(sweep())
    assert workers.read(run).state_type is StateType.PENDING


def test_a_worker_that_was_killed_leaves_nothing_running(workers: Workers) -> None:
    """The next one finds a run whose process is gone too; one that goes on it leaves alone."""
    worker = workers.start()
    for name in "ab":
        (workers.folder / f"hold-{name}").touch()
    lost = workers.create("held-change", target="toy")
    workers.reached("a")
    (workers.folder / "hold-kept").touch()
    kept = workers.create("stay", name="kept")
    lost_pid, kept_pid = workers.pid(lost), workers.pid(kept)
    worker.kill()
    worker.wait()
    os.kill(lost_pid, signal.SIGKILL)
    for name in "ab":
        (workers.folder / f"hold-{name}").unlink()
    assert Path(f"/proc/{kept_pid}").exists()
    workers.start()
    state = workers.end(lost)
    assert (state.name, state.message) == (
        "Crashed",
        "Its process ended while no worker was there to see it.",
    )
    assert workers.outcome(lost) == "remediated"
    assert Path(f"/proc/{kept_pid}").exists()
    (workers.folder / "hold-kept").unlink()
    assert workers.end(kept).is_completed()
