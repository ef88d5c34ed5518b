"""dockerd is killed while a remediation is at work on what runs there, and started again.

What it ran lives on without it, and is stopped and started again when it comes back: the database
too. Whatever the remediation was at, it ends done or undone.
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.database.restore_from_backup import restore_from_backup
from flows.database.rotate_database_password import rotate_database_password
from infra.sandbox import pristine
from infra.sandbox.seed import seed
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.docker.apart import engine_apart
from infra.testbed.docker.compose_program import provide_v2
from infra.testbed.docker.daemon import Daemon
from infra.testbed.docker.engine import Engine
from infra.testbed.docker.images import SERVERS
from tasks.guardrails.remediation import Remediation
from tests.compose_fixtures import FEW_ROWS, or_missing, project_on
from tests.faults.grounds import ComposeGround
from tests.faults.matrix import judged, reference
from tests.faults.sampling import sample
from tests.faults.scene import Scene
from tests.prefect_fixtures import Runs

AWAY_SECONDS = 3
pytestmark = pytest.mark.timeout(1800)  # an engine with its images, a project and its rows first
POINTS = [
    (restore_from_backup, "after-entry:begun"),
    (restore_from_backup, "before-apply:database.swap_databases"),
    (restore_from_backup, "database.swap_databases:first-rename"),
    (restore_from_backup, "after-apply:database.swap_databases"),
    (rotate_database_password, "before-apply:application.change_settings"),
    (rotate_database_password, "after-apply:database.create_alternate_login"),
]


@pytest.fixture(scope="module")
def apart(
    docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ComposeSystem, Daemon]]:
    """A compose project on an engine that nobody else uses."""
    images = [*SERVERS, "planner-app:production"]
    with ExitStack() as held:
        with or_missing():
            cache = held.enter_context(tempfile.TemporaryDirectory(prefix="remedy-test-engine-"))
            given = held.enter_context(engine_apart(Path(cache), docker_engine, images))
        engine, daemon = given
        compose = provide_v2(engine, tmp_path_factory.mktemp("docker-config"))
        system = held.enter_context(project_on(engine, compose, 9))
        system.up()
        seed(system, rows=FEW_ROWS)
        pristine.keep(system)
        yield system, daemon


@pytest.mark.parametrize(("flow", "point"), sample(POINTS, 1))
def test_it_ends_done_or_undone(
    flow: Remediation, point: str, apart: tuple[ComposeSystem, Daemon], runs: Runs, tmp_path: Path
) -> None:
    """Engine, database and application go away in the middle of it, and come back."""
    system, daemon = apart
    scene = Scene(ComposeGround(system), runs, flow, tmp_path)
    known = reference(scene)
    assert known.outcome == "Remediated"
    with scene.broken() as run:
        child = scene.stop_at(run, point)
        before = system.project.container("db").attrs["State"]["StartedAt"]
        daemon.kill()
        coming_back = threading.Timer(AWAY_SECONDS, daemon.start)
        coming_back.start()
        try:
            # Where the run gave up without the engine, its recovery finds it there again.
            outcome = scene.go_on(child, run, coming_back.join)
        finally:
            coming_back.join()
        system.up()
        # What an undo takes out of use is kept.
        found = [one for one in judged(scene, known, outcome) if "planner_undone_" not in one]
        assert found == []
        assert system.project.container("db").attrs["State"]["StartedAt"] > before
