"""What else than a kill -9 happens to a restore in the middle: it ends done or undone."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun

from flows.database.restore_from_backup import restore_from_backup
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import Case
from tests.faults.cutting import CuttingProxy, proxy_to
from tests.faults.grounds import SandboxGround
from tests.faults.loading import held_in_load
from tests.faults.matrix import Reference, judged, reference
from tests.faults.sampling import sample
from tests.faults.scene import LEASE_SECONDS, Scene
from tests.prefect_fixtures import Runs

LOAD = "before-apply:database.load_backup"
LOADED = "after-apply:database.load_backup"
SWAP = "before-apply:database.swap_databases"
IN_THE_SWAP = "database.swap_databases:first-rename"
SWAPPED = "database.swap_databases:swapped"
COUNTING = "database.swap_databases:counting"
# Where it is stopped, and the host on which it believes to be: there nobody can end it.
STOPS = [
    (point, host)
    for host in ("", "elsewhere")
    for point in ("after-entry:begun", LOAD, IN_THE_SWAP)
]
_references: dict[Path, Reference] = {}


@pytest.fixture
def scene(runs: Runs, fresh_sandbox: Sandbox, tmp_path: Path) -> Scene:
    """A sandbox whose deleted rows are restored."""
    return Scene(SandboxGround(fresh_sandbox), runs, restore_from_backup, tmp_path)


def known(scene: Scene) -> Reference:
    """Give how the restore goes when nothing happens; found out once."""
    if scene.planner.backups not in _references:
        _references[scene.planner.backups] = reference(scene)
    return _references[scene.planner.backups]


def has_ended_well(scene: Scene, outcome: str) -> None:
    """It is done or undone, and nothing is left over."""
    assert judged(scene, known(scene), outcome) == []


@contextmanager
def in_the_load(scene: Scene, run: FlowRun) -> Iterator[tuple[BaseProcess, list[psutil.Process]]]:
    """Execute a run until its backup is being loaded; the programs that load wait meanwhile."""
    child = scene.start(run)
    assert child.pid
    with held_in_load(scene.planner, child.pid) as programs:
        yield child, programs


def restart_database(scene: Scene) -> None:
    """Kill the target's PostgreSQL, and start it again."""
    scene.planner.cluster.kill()
    scene.planner.up()


def test_target_database_restarts_in_the_load(scene: Scene) -> None:
    """A server that was killed under the load is waited for, or the load is undone."""
    known(scene)
    with scene.broken() as run:
        with in_the_load(scene, run) as (child, _):
            scene.planner.cluster.kill()
        scene.planner.up()
        outcome = scene.go_on(child, run)
        has_ended_well(scene, outcome)


@pytest.mark.parametrize("point", sample([SWAP, IN_THE_SWAP, SWAPPED, COUNTING], 1))
def test_target_database_restarts_in_the_cut_over(scene: Scene, point: str) -> None:
    """A server that was killed around the swap has one of both databases under the name."""
    known(scene)
    with scene.broken() as run:
        child = scene.stop_at(run, point)
        restart_database(scene)
        outcome = scene.go_on(child, run)
        has_ended_well(scene, outcome)


def cut_for(seconds: float, proxy: CuttingProxy) -> threading.Thread:
    """Cut what goes through a proxy for a while; returns when it was cut once."""
    has_cut = threading.Event()

    def cut() -> None:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            proxy.cut()
            has_cut.set()
            time.sleep(0.05)

    cutting = threading.Thread(target=cut)
    cutting.start()
    has_cut.wait()
    return cutting


@pytest.mark.parametrize("point", sample([LOAD, LOADED, IN_THE_SWAP], 1))
def test_connections_are_cut(scene: Scene, point: str) -> None:
    """All connections to the database break for a while, and work again."""
    known(scene)
    with proxy_to(scene.planner.settings.ports["postgresql"]) as proxy, scene.broken() as run:
        scene.reach_database_by(proxy.port)
        child = scene.stop_at(run, point)
        cutting = cut_for(1.5, proxy)
        outcome = scene.go_on(child, run)
        cutting.join()
        has_ended_well(scene, outcome)


@pytest.mark.parametrize(
    "point", sample([LOAD, LOADED, IN_THE_SWAP, COUNTING, "before-entry:stage_done"], 1)
)
def test_terminated(scene: Scene, point: str) -> None:
    """A process that gets SIGTERM gives its leases up; the recovery goes on."""
    known(scene)
    with scene.broken() as run:
        name = scene.execute(run, TERM=f"{point}#1")
        case = Case.read(scene.ledger, scene.runs.id_of(run))
        assert not case.outcome, f"it was not terminated: {name}"
        has_ended_well(scene, scene.recover(run))


@pytest.mark.parametrize(("point", "host"), sample(STOPS, 2))
def test_stopped_for_longer_than_its_lease(scene: Scene, point: str, host: str) -> None:
    """One that was stopped and goes on later is fenced off, where the change lands."""
    known(scene)
    with scene.broken() as run:
        child = scene.stop_at(run, point, host)
        time.sleep(LEASE_SECONDS + 1)
        outcome = scene.recover(run)
        has_ended_well(scene, outcome)
        before = scene.picture()
        entries = len(scene.ledger.entries())
        assert child.pid
        if host:  # nobody could end it there
            os.kill(child.pid, signal.SIGCONT)
        child.join(60)
        assert not child.is_alive()
        assert scene.picture() == before
        after = scene.ledger.entries()[entries:]
        assert [entry.kind for entry in after] == []


def test_programs_of_a_killed_run_do_not_go_on(scene: Scene) -> None:
    """Neither the programs nor the sessions of a run that is killed in its load stay."""
    known(scene)
    with scene.broken() as run:
        with in_the_load(scene, run) as (child, programs):
            child.kill()
            child.join()
        give_up = time.monotonic() + 60
        while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in programs):
            assert time.monotonic() < give_up, programs
            time.sleep(0.1)
        has_ended_well(scene, scene.recover(run))
